"""The main job from end to end, in real Blender, through the installed extension's own buttons.

    make demo                  on Suzanne, subdivided
    make demo MESH=scan.ply    on a mesh of your own: PLY, OBJ, STL, GLB or .npz

Runs inside Blender as a Python module. Leaves the scene, the corrected mesh and a picture in
demo-output/, under the file's name, and prints what it took and how exact it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The artist's own preferences and extensions are left alone.
_resources = tempfile.TemporaryDirectory(prefix="fairfield-demo-")
os.environ["BLENDER_USER_RESOURCES"] = _resources.name

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from mathutils import Vector  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
EXTENSION = "bl_ext.user_default.fairfield"
BACKEND_PYTHON = os.environ["FAIRFIELD_BACKEND_PYTHON"]
ZIP = os.environ["FAIRFIELD_ZIP"]
PICTURE_SIZE = (1100, 520)


def main(arguments: list[str]) -> int:
    """Run the demo on the mesh file given, or on Suzanne."""
    OUTPUT.mkdir(exist_ok=True)
    if arguments and not Path(arguments[0]).is_file():
        print(f"There is no mesh file {arguments[0]}.", file=sys.stderr)
        return 2
    if arguments and Path(arguments[0]).resolve().parent == OUTPUT:
        print(
            f"{arguments[0]} would be written over; move it out of {OUTPUT.name}/.", file=sys.stderr
        )
        return 2
    seconds: dict[str, float] = {}

    def timed(stage: str, call, *positional, **named):
        print(f"{stage} ...", flush=True)
        start = time.perf_counter()
        result = call(*positional, **named)
        seconds[stage] = time.perf_counter() - start
        return result

    bpy.ops.wm.read_factory_settings(use_empty=True)
    timed("install the extension", install_extension)
    choose_backend()
    try:
        source = import_mesh(Path(arguments[0])) if arguments else suzanne()
        select(source)
        timed("fit", bpy.ops.fairfield.fit)
        timed("smooth", bpy.ops.fairfield.smooth)
        timed("extract", bpy.ops.fairfield.extract)
    # A RuntimeError is what a click shows as a message; the others come from damaged files.
    except (RuntimeError, ValueError, KeyError, OSError) as problem:
        print(f"The demo stopped: {str(problem).strip()}", file=sys.stderr)
        return 1
    surface = bpy.context.object
    if surface == source:
        print("Nothing was extracted.", file=sys.stderr)
        return 1
    stem = Path(arguments[0]).stem if arguments else "suzanne"
    for file_format in ("PLY", "GLB"):
        path = OUTPUT / f"{stem}.{file_format.lower()}"
        timed(
            f"export {file_format}",
            bpy.ops.fairfield.export,
            filepath=str(path),
            file_format=file_format,
        )
    report = fit_report(source)
    bpy.ops.wm.save_as_mainfile(filepath=str(OUTPUT / f"{stem}.blend"))
    timed("picture", render, source, surface, OUTPUT / f"{stem}.png")
    truth = timed("fit a torus, whose truth is known", known_shape)
    print_table(source, surface, seconds, report, truth)
    names = ", ".join(f"{stem}.{suffix}" for suffix in ("blend", "ply", "glb", "png"))
    print(f"\nThe scene, the meshes and the picture are in {OUTPUT.relative_to(ROOT)}/: {names}")
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    return 0


def install_extension() -> None:
    """Install the built zip as a user does from a file, and choose the backend."""
    bpy.ops.extensions.package_install_files(
        filepath=ZIP, repo="user_default", enable_on_install=True
    )


def choose_backend() -> None:
    """Point the extension at the environment that `make` made."""
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    preferences.backend = "python"
    preferences.python = BACKEND_PYTHON


def suzanne() -> bpy.types.Object:
    """Blender's monkey with three subdivisions applied."""
    bpy.ops.mesh.primitive_monkey_add()
    monkey = bpy.context.object
    monkey.modifiers.new("Subdivision", "SUBSURF").levels = 3
    bpy.ops.object.modifier_apply(modifier="Subdivision")
    return monkey


def import_mesh(path: Path) -> bpy.types.Object:
    """Bring a mesh file into the scene, through Blender's own importers where it has one."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        with np.load(path) as arrays:
            mesh = bpy.data.meshes.new(path.stem)
            mesh.from_pydata(arrays["vertices"].tolist(), [], arrays["faces"].tolist())
        mesh.validate()
        loaded = bpy.data.objects.new(path.stem, mesh)
        loaded.rotation_euler.x = np.pi / 2  # scans have y up, Blender z
        bpy.context.collection.objects.link(loaded)
    else:
        importers = {
            ".ply": bpy.ops.wm.ply_import,
            ".obj": bpy.ops.wm.obj_import,
            ".stl": bpy.ops.wm.stl_import,
            ".glb": bpy.ops.import_scene.gltf,
        }
        if suffix not in importers:
            known = ", ".join([".npz", *importers])
            raise SystemExit(f"{path} has the suffix {suffix!r}; the demo reads {known}.")
        importers[suffix](filepath=str(path))
    meshes = [each for each in bpy.data.objects if each.type == "MESH"]
    if not meshes:
        raise SystemExit(f"{path} holds no mesh.")
    largest = max(meshes, key=lambda each: len(each.data.vertices))
    if len(meshes) > 1:
        print(f"{path} holds {len(meshes)} meshes; the demo takes the largest, {largest.name}.")
    return largest


def select(target: bpy.types.Object) -> None:
    """Select one object and make it active."""
    bpy.context.view_layer.update()  # a new object is not known to the layer before
    for each in bpy.context.selected_objects:
        each.select_set(False)
    target.select_set(True)
    bpy.context.view_layer.objects.active = target


def fit_report(source: bpy.types.Object):
    """What the panel shows of the fit of this object."""
    session = sys.modules[f"{EXTENSION}.blender_addon.session"].current()
    return session.reports[source.session_uid]


def known_shape() -> dict:
    """Fit a torus in the backend's Python and compare the operators with exact truth."""
    script = ROOT / "benchmarks" / "known_shape.py"
    done = subprocess.run(
        [BACKEND_PYTHON, script, "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def print_table(source, surface, seconds, report, truth) -> None:
    """Print what it took and how exact it is."""
    print(f"\n{source.name}: {len(source.data.polygons)} faces")
    for stage, took in seconds.items():
        print(f"  {stage:32s}{took:10.1f} s")
    print(f"  {'near-surface error':32s}{report.relative_error:10.1e} of the half-extent")
    print(f"  {'extracted vertices':32s}{len(surface.data.vertices):10d}")
    print(f"\n{truth['shape']}, against exact truth:")
    print(f"  {'near-surface error':32s}{truth['near_surface_error']:10.1e} of the half-extent")
    for operator in ("autodiff", "polynomial"):
        error = truth["operators"][operator]["mean_normal_error_degrees"]
        print(f"  {f'normal error, {operator}':32s}{error:10.3f} degrees")


# The picture. It is made after the scene was saved, so the scene has none of this.


def render(source: bpy.types.Object, surface: bpy.types.Object, path: Path) -> None:
    """Render the source beside the surface with its overlay, and a legend."""
    scene = bpy.context.scene
    corners = [surface.matrix_world @ Vector(corner) for corner in surface.bound_box]
    low = Vector(min(corner[axis] for corner in corners) for axis in range(3))
    high = Vector(max(corner[axis] for corner in corners) for axis in range(3))
    center, size = (low + high) / 2, max(high - low)

    # Models are made with their front to -Y in Blender; the camera looks from there.
    left, right = Vector((-0.66 * size, 0, 0.12 * size)), Vector((0.66 * size, 0, 0.12 * size))
    for shown, side in ((source, left), (surface, right)):
        shown.hide_set(False)
        shown.hide_render = False
        shown.location += side - center
    source.data.materials.clear()
    source.data.materials.append(clay_material())
    surface.data.materials.clear()
    surface.data.materials.append(overlay_material())
    for polygons in (source.data.polygons, surface.data.polygons):
        polygons.foreach_set("material_index", np.zeros(len(polygons), np.int32))

    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.type = "ORTHO"
    camera.data.ortho_scale = 3 * size
    camera.location = (0, -4 * size, 0.9 * size)
    camera.rotation_euler = (-camera.location).to_track_quat("-Z", "Y").to_euler()
    camera.data.clip_start, camera.data.clip_end = 0.01 * size, 100 * size
    scene.collection.objects.link(camera)
    scene.camera = camera
    for name, direction, strength in (("Key", (-1, -2, 3), 3.0), ("Fill", (3, -2, 1), 1.0)):
        light = bpy.data.objects.new(name, bpy.data.lights.new(name, "SUN"))
        light.data.energy = strength
        light.rotation_euler = Vector(direction).to_track_quat("Z", "Y").to_euler()
        scene.collection.objects.link(light)
    world = bpy.data.worlds.new("World")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.8, 0.85, 0.9, 1)
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.35
    scene.world = world
    add_legend(camera, surface, size)

    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 48
    scene.cycles.max_bounces = 1
    scene.cycles.use_denoising = False  # with these lights there is next to no noise
    scene.render.resolution_x, scene.render.resolution_y = PICTURE_SIZE
    scene.render.film_transparent = False
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(path)
    with redirected_output():  # Cycles reports every sample
        bpy.ops.render.render(write_still=True)


@contextmanager
def redirected_output() -> Iterator[None]:
    """Throw away what native code prints."""
    sys.stdout.flush()
    saved = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def clay_material() -> bpy.types.Material:
    """A plain grey surface."""
    material = bpy.data.materials.new("Clay")
    material.diffuse_color = (0.6, 0.6, 0.6, 1)
    material.use_nodes = True
    principled = material.node_tree.nodes["Principled BSDF"]
    principled.inputs["Base Color"].default_value = (0.55, 0.55, 0.55, 1)
    principled.inputs["Roughness"].default_value = 0.7
    return material


def overlay_material() -> bpy.types.Material:
    """A surface in the colours of the overlay."""
    material = clay_material()
    material.name = "Curvature"
    tree = material.node_tree
    color = tree.nodes.new("ShaderNodeVertexColor")
    color.layer_name = "curvature_color"
    tree.links.new(color.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
    return material


def add_legend(camera: bpy.types.Object, surface: bpy.types.Object, size: float) -> None:
    """A colour bar with its values, fixed to the camera at the bottom of the picture."""
    addon = f"{EXTENSION}.blender_addon"
    colormap, quantities = sys.modules[f"{addon}.colormap"], sys.modules[f"{addon}.quantities"]
    shown = surface.data["fairfield_shown"]
    quantity = quantities.QUANTITIES[shown["quantity"]]
    low, high = shown["low"], shown["high"]

    steps, width, height, bottom = 64, 0.9 * size, 0.05 * size, -0.6 * size
    along = np.linspace(low, high, steps)
    across = np.linspace(-width / 2, width / 2, steps)
    vertices = [(x, y, 0) for y in (bottom, bottom + height) for x in across]
    faces = [(i, i + 1, steps + i + 1, steps + i) for i in range(steps - 1)]
    mesh = bpy.data.meshes.new("Legend")
    mesh.from_pydata(vertices, [], faces)
    colors = colormap.colors(along, low, high, signed=quantity.signed)
    layer = mesh.color_attributes.new("curvature_color", "BYTE_COLOR", "POINT")
    layer.data.foreach_set("color_srgb", np.tile(colors, (2, 1)).ravel())
    mesh.materials.append(glowing_material("Bar", "curvature_color"))
    ink = glowing_material("Ink", None)
    labels = [
        (quantity.label + " (1/unit)", 0.0, bottom + 1.5 * height, "CENTER"),
        (f"{low:.3g}", -width / 2, bottom - 1.2 * height, "CENTER"),
        (f"{(low + high) / 2:.3g}", 0.0, bottom - 1.2 * height, "CENTER"),
        (f"{high:.3g}", width / 2, bottom - 1.2 * height, "CENTER"),
    ]
    objects = [bpy.data.objects.new("Legend", mesh)]
    for text, x, y, align in labels:
        curve = bpy.data.curves.new("Label", "FONT")
        curve.body, curve.align_x, curve.size = text, align, 1.1 * height
        curve.materials.append(ink)
        label = bpy.data.objects.new("Label", curve)
        label.location = (x, y, 0)
        objects.append(label)
    for each in objects:
        bpy.context.scene.collection.objects.link(each)
        each.parent = camera
        each.location.z = -2 * size


def glowing_material(name: str, attribute: str | None) -> bpy.types.Material:
    """Colours that no light changes: of an attribute, or nearly black."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.remove(tree.nodes["Principled BSDF"])
    glow = tree.nodes.new("ShaderNodeEmission")
    glow.inputs["Color"].default_value = (0.02, 0.02, 0.02, 1)
    tree.links.new(glow.outputs[0], tree.nodes["Material Output"].inputs["Surface"])
    if attribute:
        color = tree.nodes.new("ShaderNodeVertexColor")
        color.layer_name = attribute
        tree.links.new(color.outputs["Color"], glow.inputs["Color"])
    return material


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
