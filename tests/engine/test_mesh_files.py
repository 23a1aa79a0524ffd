"""Files give back what was written, vertex by vertex."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh
from fairfield import TriangleMesh
from fairfield.errors import MeshError
from fairfield.mesh_files import write_mesh
from shapes import icosphere


@pytest.fixture
def mesh() -> TriangleMesh:
    """A sphere whose vertex 5 no triangle uses."""
    vertices, triangles = icosphere(subdivisions=1)
    vertices = np.insert(vertices, 5, (4.0, 5.0, 6.0), axis=0)
    return TriangleMesh(vertices, triangles + (triangles >= 5))


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb", ".npz", ".PLY"])
def test_vertices_keep_number_and_order(tmp_path: Path, mesh: TriangleMesh, suffix: str) -> None:
    path = tmp_path / f"mesh with spaces é{suffix}"
    mesh.save(path)
    again = TriangleMesh.load(path)
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.triangles, mesh.triangles)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_stl_keeps_the_triangles(tmp_path: Path, mesh: TriangleMesh) -> None:
    mesh.save(tmp_path / "mesh.stl")
    again = TriangleMesh.load(tmp_path / "mesh.stl")
    np.testing.assert_allclose(
        again.vertices[again.triangles], mesh.vertices[mesh.triangles], atol=1e-6
    )
    assert len(again.vertices) == len(np.unique(mesh.triangles))  # each once


@pytest.mark.parametrize(
    ("place", "size"), [(0, 1), (1e3, 1), (1e6, 1), (-1e9, 1), (0, 1e-9), (1e30, 1e29), (0, 1e-30)]
)
@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_vertices_stay_wherever_the_mesh_is(
    tmp_path: Path, mesh: TriangleMesh, suffix: str, place: float, size: float
) -> None:
    """As in geographic coordinates, which float32 cannot tell apart."""
    vertices = size * mesh.vertices + [place, -place, place / 2]
    TriangleMesh(vertices, mesh.triangles).save(tmp_path / f"mesh{suffix}")
    again = TriangleMesh.load(tmp_path / f"mesh{suffix}")
    np.testing.assert_allclose(again.vertices, vertices, rtol=0, atol=1e-6 * size * 6)
    np.testing.assert_array_equal(again.triangles, mesh.triangles)


def test_ply_has_doubles_only_where_they_are_needed(tmp_path: Path, mesh: TriangleMesh) -> None:
    far = TriangleMesh(mesh.vertices + 1e6, mesh.triangles)
    normals = np.tile([0.0, 0.6, 0.8], (len(mesh.vertices), 1))
    curvature = np.arange(len(mesh.vertices), dtype=np.float32)
    for each, kind in ((mesh, np.float32), (far, np.float64)):
        write_mesh(tmp_path / "m.ply", each, normals=normals, attributes={"curvature": curvature})
        loaded = trimesh.load(tmp_path / "m.ply", process=False)
        raw = loaded.metadata["_ply_raw"]["vertex"]["data"]
        assert [raw[name].dtype for name in ("x", "nx", "curvature")] == [kind, "f4", "f4"]
        np.testing.assert_array_equal(raw["z"].ravel(), each.vertices[:, 2].astype(kind))
        np.testing.assert_array_equal(raw["ny"].ravel(), np.float32(0.6))
        np.testing.assert_array_equal(raw["curvature"].ravel(), curvature)
        np.testing.assert_array_equal(loaded.faces, each.triangles)


def test_glb_keeps_normals_and_attributes_far_from_the_origin(
    tmp_path: Path, mesh: TriangleMesh
) -> None:
    far = TriangleMesh(mesh.vertices + 1e6, mesh.triangles)
    normals = np.tile([0.0, 0.6, 0.8], (len(mesh.vertices), 1))
    curvature = np.arange(len(mesh.vertices), dtype=np.float32)
    write_mesh(tmp_path / "m.glb", far, normals=normals, attributes={"curvature": curvature})
    (loaded,) = trimesh.load_scene(tmp_path / "m.glb", process=False).geometry.values()
    np.testing.assert_array_equal(loaded.vertex_attributes["_CURVATURE"].ravel(), curvature)
    np.testing.assert_allclose(loaded.vertex_normals, normals, atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "place", "size"), [(".stl", 1e6, 1), (".stl", 0, 1e50), (".glb", 0, 1e50)]
)
def test_what_a_format_has_no_digits_for_is_refused(
    tmp_path: Path, mesh: TriangleMesh, suffix: str, place: float, size: float
) -> None:
    path = tmp_path / f"mesh{suffix}"
    mesh.save(path)
    before = path.read_bytes()
    with pytest.raises(MeshError, match=r"7 digits, .* Write \.ply or \.obj"):
        TriangleMesh(size * mesh.vertices + place, mesh.triangles).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb"])
def test_a_mesh_of_one_point_is_written(tmp_path: Path, suffix: str) -> None:
    TriangleMesh(np.full((3, 3), 0.1), [[0, 1, 2]]).save(tmp_path / f"point{suffix}")
    again = TriangleMesh.load(tmp_path / f"point{suffix}")
    np.testing.assert_allclose(again.vertices[again.triangles], 0.1, atol=1e-8)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_both_kinds_of_ply(tmp_path: Path, mesh: TriangleMesh, encoding: str) -> None:
    exported = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)
    (tmp_path / "mesh.ply").write_bytes(exported.export(file_type="ply", encoding=encoding))
    again = TriangleMesh.load(tmp_path / "mesh.ply")
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)


BLENDER_HEADER = """\
ply
format binary_little_endian 1.0
comment Created in Blender version 4.5.15 LTS
element vertex 5
property float x
property float y
property float z
property float nx
property float ny
property float nz
property uchar red
property uchar green
property uchar blue
property uchar alpha
property float s
property float t
element face {faces}
property list uchar uint vertex_indices
element edge 1
property int vertex1
property int vertex2
end_header
"""


# The second file is as long as if all of its faces had four corners.
@pytest.mark.parametrize("faces", ["012 0123 01234", "0123 012 01234", "01234", "012 023"])
def test_faces_of_a_binary_ply_may_have_any_number_of_corners(tmp_path: Path, faces: str) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [2, 1, 0], [1, 2, 0], [0, 2, 0.5]])
    content = BLENDER_HEADER.format(faces=len(faces.split())).encode()
    for point in points:
        content += struct.pack("<6f4B2f", *point, 0, 0, 1, 255, 128, 0, 255, 0.5, 0.5)
    corners = [[int(digit) for digit in face] for face in faces.split()]
    for face in corners:
        content += struct.pack(f"<B{len(face)}I", len(face), *face)
    content += struct.pack("<2i", 0, 1)
    path = tmp_path / "blender.ply"
    path.write_bytes(content)
    mesh = TriangleMesh.load(path)
    np.testing.assert_array_equal(mesh.vertices, points)
    expected = [[f[0], f[i], f[i + 1]] for f in corners for i in range(1, len(f) - 1)]
    assert mesh.triangles.tolist() == expected
    # Nobody misses the edges, nor asks how the header's lines end.
    header, body = content.split(b"end_header\n", 1)
    for line_end in (b"\r\n", b" \n"):
        lines = header.replace(b"\n", line_end) + b"end_header" + line_end
        path.write_bytes(lines + body[:-3])
        assert TriangleMesh.load(path).triangles.tolist() == expected
    for end in (len(content) - 12, content.index(b"end_header") + 40, 100):
        path.write_bytes(content[:end])
        with pytest.raises(MeshError, match=r"blender\.ply: the file is damaged or no PLY file"):
            TriangleMesh.load(path)


def polygon_file(kind: str, points: list, faces: list[list[int]]) -> bytes:
    """An OBJ file, an ASCII PLY file, or one with numbers as struct's character says."""
    if kind == "obj":
        lines = [f"v {x} {y} {z}" for x, y, z in points]
        lines += ["f " + " ".join(str(corner + 1) for corner in face) for face in faces]
        return "\n".join(lines).encode()
    encoding = {"<": "binary_little_endian", ">": "binary_big_endian", "ascii": "ascii"}[kind]
    content = (
        f"ply\nformat {encoding} 1.0\nelement vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty uchar flags\n"
        "property list ushort int vertex_index\nproperty double weight\nend_header\n"
    ).encode()
    if kind == "ascii":
        lines = [" ".join(map(str, point)) for point in points]
        lines += [" ".join(map(str, (7, len(face), *face, 0.5))) for face in faces]
        return content + "\n".join(lines).encode()
    content += b"".join(struct.pack(f"{kind}3f", *point) for point in points)
    for face in faces:
        content += struct.pack(f"{kind}BH{len(face)}id", 7, len(face), *face, 0.5)
    return content


@pytest.mark.parametrize("kind", ["obj", "ascii", "<", ">"])
def test_faces_keep_their_order(tmp_path: Path, kind: str) -> None:
    points = [(0, 0, 0), (2, 0, 0), (3, 1, 0), (2, 2, 0), (0, 2, 0), (7, 7, 7)]
    path = tmp_path / f"faces.{'obj' if kind == 'obj' else 'ply'}"
    path.write_bytes(polygon_file(kind, points, [[0, 1, 3, 4], [1, 2, 3], [0, 1, 2, 3]]))
    mesh = TriangleMesh.load(path)
    np.testing.assert_array_equal(mesh.vertices, points)
    assert mesh.triangles.tolist() == [[0, 1, 3], [0, 3, 4], [1, 2, 3], [0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("kind", ["obj", "ascii", "<", ">"])
@pytest.mark.parametrize("turn", range(6))
def test_concave_polygons_are_cut_within(tmp_path: Path, kind: str, turn: int) -> None:
    """Area and volume of a prism over an L of three unit squares, and of one over a dart."""
    corners = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
    darts = [(0, 0), (3, 0), (1, 1), (0, 3)]
    slope = np.sqrt(5)
    for outline, area, volume in ((corners, 14, 3), (darts, 6 + 6 + 2 * slope, 3)):
        count = len(outline)
        points = [(*corner, height) for height in (0, 1) for corner in outline]
        top = [count + (each + turn) % count for each in range(count)]
        bottom = [(each + turn) % count for each in range(count)][::-1]
        after = [*range(1, count), 0]
        sides = [[i, after[i], count + after[i], count + i] for i in range(count)]
        path = tmp_path / f"prism.{'obj' if kind == 'obj' else 'ply'}"
        path.write_bytes(polygon_file(kind, points, [top, *sides, bottom]))
        mesh = TriangleMesh.load(path)
        np.testing.assert_array_equal(mesh.vertices, points)
        assert mesh.triangle_areas().sum() == pytest.approx(area)
        determinants = np.linalg.det(mesh.vertices[mesh.triangles])
        assert determinants.sum() / 6 == pytest.approx(volume)


def test_numbers_that_make_no_mesh_are_told(tmp_path: Path) -> None:
    content = BLENDER_HEADER.format(faces=1).encode() + bytes(1000)
    path = tmp_path / "lists.ply"
    path.write_bytes(content.replace(b"property float s", b"property list uchar float s"))
    with pytest.raises(MeshError, match=r"lists\.ply: its vertices have lists of numbers"):
        TriangleMesh.load(path)
    path.write_bytes(content.replace(b"list uchar uint", b"list uchar float"))
    with pytest.raises(MeshError, match=r"lists\.ply: its faces .* with a decimal point"):
        TriangleMesh.load(path)


def test_an_obj_keeps_its_order_whatever_the_materials(tmp_path: Path) -> None:
    """With corners counted backwards, lines that go on, colours and comments."""
    (tmp_path / "parts.obj").write_bytes(
        b"# v 9 9 9\r\nv 0 0 0 1 0 0\r\nv 1 0 0 1 0 0\r\nv 1 1 0 1 0 0 # the third\r\n"
        b"usemtl a\r\nf -3 -2 -1\r\nv 0 1 0\r\nv 5 5 5\r\nusemtl b\r\nf 1//1 3//1 \\\r\n4//1\r\n"
        b"l 1 2\r\nusemtl a\r\nf 1/1/1 2/2/1 3/3/1 4/4/1\r\n"
    )
    mesh = TriangleMesh.load(tmp_path / "parts.obj")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5]]
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3]]


def test_coordinates_that_are_not_finite_are_told_without_warnings(tmp_path: Path) -> None:
    """As of an unused vertex in a file with texture coordinates."""
    (tmp_path / "nan.obj").write_text(
        "v 0 0 0\nv nan 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nf 1/1 3/2 4/3\n"
    )
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(MeshError, match=r"1 vertices have coordinates that are not finite"),
    ):
        TriangleMesh.load(tmp_path / "nan.obj")


def test_polygons_are_triangulated_and_texture_seams_do_not_split(tmp_path: Path) -> None:
    (tmp_path / "quad.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt .5 .5\n"
        "f 1/1 2/2 3/3 4/4\nf 1/5 2/1 5/3\n"
    )
    mesh = TriangleMesh.load(tmp_path / "quad.obj")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert mesh.triangle_areas().sum() == pytest.approx(1.5)


def test_attributes_and_normals_are_in_the_ply(tmp_path: Path, mesh: TriangleMesh) -> None:
    count = len(mesh.vertices)
    normals = np.tile([0.0, 0.6, 0.8], (count, 1))
    curvature = np.arange(count, dtype=np.float32)
    directions = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    write_mesh(
        tmp_path / "mesh.ply",
        mesh,
        normals=normals,
        attributes={"mean_curvature": curvature, "curvature_max_direction": directions},
    )
    raw = trimesh.load(tmp_path / "mesh.ply", process=False).metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(raw["mean_curvature"].ravel(), curvature)
    np.testing.assert_array_equal(raw["curvature_max_direction_z"].ravel(), directions[:, 2])
    np.testing.assert_allclose(raw["ny"].ravel(), 0.6, atol=1e-6)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb", ".npz"])
@pytest.mark.parametrize("content", [b"", b"nonsense\n\x00\xff" * 9])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(MeshError, match="broken"):
        TriangleMesh.load(path)


def test_a_cut_file_is_told_as_such(tmp_path: Path, mesh: TriangleMesh) -> None:
    path = tmp_path / "cut.stl"
    mesh.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MeshError, match=r"cut\.stl: the file is damaged or no STL file"):
        TriangleMesh.load(path)


def test_missing_files_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="No such file"):
        TriangleMesh.load(tmp_path / "missing.ply")
    with pytest.raises(MeshError, match=r"\.fbx"):
        TriangleMesh.load(tmp_path / "mesh.fbx")
    np.savez(tmp_path / "other.npz", points=np.zeros(3))
    with pytest.raises(MeshError, match="vertices"):
        TriangleMesh.load(tmp_path / "other.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, mesh: TriangleMesh) -> None:
    path = tmp_path / "mesh.ply"
    path.mkdir()
    with pytest.raises(OSError) as caught:
        mesh.save(path)
    assert caught.value.filename == str(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mesh.ply"]
