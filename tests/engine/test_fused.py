"""The fused kernels against `NeuralField.correction` in plain torch, which is their definition."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fairfield.fields import DecoderConfig, FieldConfig, HashGridConfig, NeuralField
from fairfield.fused import FusedEvaluator, FusedTrainer, kernel_cache, reason_unavailable, warm_up
from fairfield.fused.loading import load_kernels

BACKEND = Path(kernel_cache.__file__).resolve().parents[2]

CONFIGS = {
    "dense and hashed": FieldConfig(encoding=HashGridConfig(levels=8, log2_table_size=14)),
    "dense": FieldConfig(
        encoding=HashGridConfig(levels=3, log2_table_size=18, per_level_scale=1.5),
        decoder=DecoderConfig(width=16),
    ),
    "hashed": FieldConfig(
        encoding=HashGridConfig(levels=4, log2_table_size=8, base_resolution=32),
        decoder=DecoderConfig(width=64, hidden_layers=2),
    ),
    "one level": FieldConfig(
        encoding=HashGridConfig(levels=1, log2_table_size=10, base_resolution=2),
        decoder=DecoderConfig(width=4, hidden_layers=2),
    ),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def field(request: pytest.FixtureRequest) -> NeuralField:
    return random_field(request.param)


def random_field(config: FieldConfig, seed: int = 0) -> NeuralField:
    """A field whose values and gradients are all of the order of one."""
    torch.manual_seed(seed)
    module = NeuralField(config)
    assert reason_unavailable(module) is None
    with torch.no_grad():
        module.encoding.table.uniform_(-1, 1)
        for name, parameter in module.decoder.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.3, 0.3)
    return module


def random_points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)).astype(np.float32)


def random_batch(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, targets and weights; all errors of the field are far from zero."""
    generator = np.random.default_rng(seed + 100)
    targets = generator.choice([-50.0, 50.0], count).astype(np.float32)
    return random_points(count, seed), targets, generator.random(count, np.float32) + 0.5


def off_the_kinks(module: NeuralField, count: int) -> np.ndarray:
    """Points where rounding cannot switch a ReLU, which would change the gradient by a jump."""
    points = random_points(4 * count)
    layers = exact(module).decoder.layers
    distance = torch.full((len(points),), torch.inf, dtype=torch.float64)
    with torch.no_grad():
        values = exact(module).encoding(torch.from_numpy(points).double())
        for layer in layers:
            if isinstance(layer, torch.nn.ReLU):
                distance = torch.minimum(distance, values.abs().amin(dim=1))
            values = layer(values)
    chosen = points[distance.numpy() > 1e-4][:count]
    assert len(chosen) == count
    return chosen


def torch_values(module: NeuralField, points: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module.correction(torch.from_numpy(points))[:, 0].numpy()


def exact(module: NeuralField) -> NeuralField:
    """The same field in float64."""
    result = NeuralField(module.config).double()
    result.load_state_dict(module.state_dict())
    return result


def reference_gradients(
    module: NeuralField, batch: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[float, dict[str, np.ndarray]]:
    dtype = module.encoding.table.dtype
    points, targets, weights = (torch.from_numpy(array).to(dtype) for array in batch)
    loss = (weights * (module.correction(points)[:, 0] - targets).abs()).mean()
    names, parameters = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    return loss.item(), {
        name: gradient.numpy() for name, gradient in zip(names, gradients, strict=True)
    }


def sphere_batches(steps: int, size: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    batches = []
    for step in range(steps):
        points = random_points(size, seed=step)
        targets = (np.linalg.norm(points, axis=1) - 0.6).astype(np.float32)
        batches.append((points, targets, (1 / (np.abs(targets) + 0.01)).astype(np.float32)))
    return batches


class TestValues:
    @pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 5001])
    def test_agree_with_torch(self, field: NeuralField, count: int) -> None:
        points = random_points(count)
        values = FusedEvaluator(field, threads=2)(points)
        assert values.shape == (count,)
        assert values.dtype == np.float32
        # Measured: at most 1.5e-5 from torch's values, which are as far from those in float64.
        np.testing.assert_allclose(values, torch_values(field, points), atol=5e-5)

    @pytest.mark.parametrize("resolution", [4, 5, 33])
    def test_of_base_and_whole_field_agree_with_torch(self, resolution: int) -> None:
        field = random_field(replace(CONFIGS["dense"], base_resolution=resolution))
        torch.nn.init.uniform_(field.base.values, -1, 1)
        points = random_points(20_001)
        points[:10] = np.sign(points[:10])
        points[10:20, 1] = 1
        evaluate = FusedEvaluator(field, threads=2)
        with torch.no_grad():
            base = field.base(torch.from_numpy(points)).numpy()
            whole = field(torch.from_numpy(points))[:, 0].numpy()
        # Measured: at most 1.5e-5, the rounding of positions in torch.
        np.testing.assert_allclose(evaluate.base_values(points), base, atol=3e-5)
        np.testing.assert_allclose(evaluate.field_values(points), whole, atol=5e-5)
        outside = points * 2
        np.testing.assert_array_equal(
            evaluate.base_values(outside), evaluate.base_values(outside.clip(-1, 1))
        )
        points[77, 1] = np.nan
        assert np.isnan(evaluate.base_values(points)).nonzero()[0].tolist() == [77]

    def test_are_as_exact_as_torch(self, field: NeuralField) -> None:
        points = random_points(5001)
        truth = torch_values_exact(field, points)
        fused = np.abs(FusedEvaluator(field, threads=2)(points) - truth)
        torchs = np.abs(torch_values(field, points) - truth)
        assert fused.mean() <= 1.2 * torchs.mean() + 1e-7

    def test_on_the_faces_of_the_cube(self, field: NeuralField) -> None:
        points = random_points(3000)
        points[:1000, 0] = 1
        points[1000:2000, 1] = -1
        points[2000:] = np.sign(points[2000:])
        values = FusedEvaluator(field, threads=1)(points)
        np.testing.assert_allclose(values, torch_values(field, points), atol=5e-5)

    def test_outside_are_those_at_the_nearest_point_of_the_cube(self, field: NeuralField) -> None:
        points = random_points(1000) * np.float32(3)
        points[0] = [1e30, -1e30, 0]
        evaluate = FusedEvaluator(field, threads=1)
        np.testing.assert_array_equal(evaluate(points), evaluate(points.clip(-1, 1)))

    def test_of_points_that_are_not_finite_are_nan(self, field: NeuralField) -> None:
        points = random_points(1000)
        evaluate = FusedEvaluator(field, threads=1)
        expected = evaluate(points)
        points[17, 1] = np.nan
        points[130, 0] = np.inf
        points[999, 2] = -np.inf
        values = evaluate(points)
        assert np.isnan(values[[17, 130, 999]]).all()
        others = np.delete(np.arange(1000), [17, 130, 999])
        np.testing.assert_array_equal(values[others], expected[others])

    def test_follow_the_parameters(self, field: NeuralField) -> None:
        points = random_points(300)
        evaluate = FusedEvaluator(field, threads=1)
        evaluate(points)
        with torch.no_grad():
            for parameter in field.parameters():
                parameter.mul_(0.5)
        np.testing.assert_allclose(evaluate(points), torch_values(field, points), atol=5e-5)

    def test_do_not_depend_on_threads_or_on_other_points(self, field: NeuralField) -> None:
        points = random_points(20_001)
        values = FusedEvaluator(field, threads=1)(points)
        for threads in (2, 3):
            np.testing.assert_array_equal(FusedEvaluator(field, threads)(points), values)
        np.testing.assert_array_equal(FusedEvaluator(field, 1)(points[57:311]), values[57:311])


def torch_values_exact(module: NeuralField, points: np.ndarray) -> np.ndarray:
    return torch_values(exact(module), points.astype(np.float64))


class TestGradients:
    @pytest.mark.parametrize("count", [1, 128, 1001])
    def test_agree_with_torch(self, field: NeuralField, count: int) -> None:
        batch = (off_the_kinks(field, count), *random_batch(count)[1:])
        loss, gradients = FusedTrainer(field, threads=2).gradients(*batch)
        expected_loss, expected = reference_gradients(exact(field), batch)
        assert loss == pytest.approx(expected_loss, rel=1e-6)
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            assert gradient.shape == expected[name].shape
            # Measured: at most 8e-6 of the largest gradient, for torch in float32 and for these.
            tolerance = 3e-5 * np.abs(expected[name]).max()
            np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=tolerance)

    @pytest.mark.parametrize("count", [1, 128, 1001])
    def test_from_given_slopes_agree_with_torch(self, field: NeuralField, count: int) -> None:
        points = off_the_kinks(field, count)
        slopes = np.random.default_rng(count).standard_normal(count).astype(np.float32)
        gradients = FusedTrainer(field, threads=2).gradients_from(points, slopes)
        twin = exact(field)
        names, parameters = zip(*twin.named_parameters(), strict=True)
        values = twin.correction(torch.from_numpy(points).double())[:, 0]
        expected = torch.autograd.grad(values, parameters, torch.from_numpy(slopes).double())
        assert list(gradients) == list(names)
        for name, exactly in zip(names, expected, strict=True):
            tolerance = 3e-5 * float(exactly.abs().max())
            np.testing.assert_allclose(gradients[name], exactly.numpy(), rtol=0, atol=tolerance)

    def test_is_zero_where_the_error_is_zero(self) -> None:
        field = random_field(CONFIGS["dense"])
        points = random_points(256)
        targets = FusedEvaluator(field, threads=1)(points)
        loss, gradients = FusedTrainer(field, 1).gradients(points, targets, np.ones_like(targets))
        assert loss == 0
        assert all((gradient == 0).all() for gradient in gradients.values())

    def test_a_target_that_is_not_finite_shows_in_the_loss(self) -> None:
        points, targets, weights = random_batch(256)
        targets[200] = np.nan
        loss, gradients = FusedTrainer(random_field(CONFIGS["dense"]), 1).gradients(
            points, targets, weights
        )
        assert np.isnan(loss)
        assert np.isnan(gradients["decoder.layers.0.bias"]).any()


def assert_close_but_for_roundings(table: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert that a table's values are equal to float32 accuracy, but for one in a thousand.

    Of those, the last bit of a gradient decided how a moment of 16 bits is rounded: some
    thousandths of a step of 1e-2.
    """
    error = (table - expected).abs()
    assert error.max() < 1e-4
    assert (error > 1e-6).double().mean() < 1e-3


def round_moments(state: dict[str, torch.Tensor]) -> None:
    """Round the moments of torch's Adam to the 16 bits that the kernels keep, in place."""
    for name, dropped in (("exp_avg", 16), ("exp_avg_sq", 15)):
        bits = state[name].view(torch.int32)
        bits += 1 << (dropped - 1)
        bits &= -1 << dropped


class TestSteps:
    def test_equal_those_of_torch_optimizers(self, field: NeuralField) -> None:
        """Three steps against SparseAdam and Adam, fed with the same gradients."""
        options = {"betas": (0.9, 0.99), "eps": 1e-15}
        twin = random_field(field.config)
        table = twin.encoding.table
        sparse = torch.optim.SparseAdam([table], lr=1e-2, **options)
        dense = torch.optim.Adam(twin.decoder.parameters(), lr=1e-3, **options)
        trainer = FusedTrainer(field, threads=2)
        for step in range(3):
            batch = random_batch(500, seed=step)
            loss, gradients = trainer.gradients(*batch)
            twin.load_state_dict(field.state_dict())
            for name, parameter in twin.named_parameters():
                parameter.grad = torch.from_numpy(gradients[name].copy())
            table.grad = table.grad.to_sparse(1)
            sparse.step()
            round_moments(sparse.state[table])
            dense.step()
            assert trainer.step(*batch, 1e-2, 1e-3) == loss
            for name, parameter in field.named_parameters():
                # Below, it matters that SparseAdam adds epsilon before the bias correction.
                ordinary = torch.from_numpy(np.abs(gradients[name]) > 1e-9)
                pair = parameter[ordinary], twin.get_parameter(name)[ordinary]
                if name == "encoding.table":
                    assert_close_but_for_roundings(*pair)
                else:
                    # Measured: 3e-7, rounding of parameters of the order of one.
                    torch.testing.assert_close(*pair, rtol=0, atol=1e-6)

    def test_on_a_given_loss_equal_those_on_the_built_in_one(self, field: NeuralField) -> None:
        twin = random_field(field.config)
        trainers = FusedTrainer(field, threads=2), FusedTrainer(twin, threads=2)
        for step in range(3):
            points, targets, weights = batch = random_batch(1000, seed=step)

            def loss(values: np.ndarray, targets=targets, weights=weights) -> tuple:
                error = values - targets
                slopes = weights * np.sign(error) / np.float32(len(values))
                return float((weights * np.abs(error)).mean(dtype=np.float64)), slopes

            expected = trainers[0].step(*batch, 1e-2, 1e-3)
            assert trainers[1].step_on(points, loss, 1e-2, 1e-3) == pytest.approx(expected)
        for name, parameter in field.named_parameters():
            pair = parameter, twin.get_parameter(name)
            if name == "encoding.table":
                assert_close_but_for_roundings(*pair)
            else:
                torch.testing.assert_close(*pair, rtol=0, atol=1e-6)

    def test_leave_rows_without_a_gradient_alone(self) -> None:
        field = random_field(CONFIGS["dense and hashed"])
        before = field.encoding.table.detach().clone()
        trainer = FusedTrainer(field, threads=2)
        batch = random_batch(5)
        _, gradients = trainer.gradients(*batch)
        trainer.step(*batch, 1e-2, 1e-2)
        changed = (field.encoding.table.detach() != before).numpy()
        np.testing.assert_array_equal(changed, gradients["encoding.table"] != 0)

    def test_reach_the_loss_of_torch(self) -> None:
        config = FieldConfig(encoding=HashGridConfig(levels=6, log2_table_size=12))
        batches = sphere_batches(steps=120, size=1024)
        torch.manual_seed(1)
        fused, plain = NeuralField(config), NeuralField(config)
        plain.load_state_dict(fused.state_dict())
        trainer = FusedTrainer(fused, threads=2)
        losses = [trainer.step(*batch, 1e-2, 1e-2) for batch in batches]
        optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
        expected = []
        for batch in batches:
            points, targets, weights = map(torch.from_numpy, batch)
            loss = (weights * (plain.correction(points)[:, 0] - targets).abs()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
        assert losses[0] == pytest.approx(expected[0], rel=1e-5)
        assert np.mean(losses[-20:]) < 0.2 * losses[0]
        # The optimisers differ: torch's Adam moves rows that a step did not touch.
        assert np.mean(losses[-20:]) == pytest.approx(np.mean(expected[-20:]), rel=0.25)

    def test_are_the_same_with_the_next_points_encoded_beforehand(self, field: NeuralField) -> None:
        """Also where another batch follows than the one that was announced, or of another size."""
        twin = random_field(field.config)
        plain, ahead = FusedTrainer(field, threads=2), FusedTrainer(twin, threads=2)
        batches = [random_batch(size, seed=size) for size in (2000, 1999, 1998, 300, 1000)]
        announced = [batches[1][0], batches[2][0], batches[0][0], batches[4][0], batches[0][0]]
        for batch, upcoming in zip(batches, announced, strict=True):
            upcoming = upcoming[: len(batch[0])]
            assert plain.step(*batch, 1e-2, 1e-3) == ahead.step(*batch, 1e-2, 1e-3, upcoming)
        same_size = [random_batch(1000, seed=seed) for seed in range(3)]
        for batch, (upcoming, _, _) in itertools.pairwise([*same_size, same_size[0]]):
            assert plain.step(*batch, 1e-2, 1e-3) == ahead.step(*batch, 1e-2, 1e-3, upcoming)
        for name, parameter in field.named_parameters():
            assert torch.equal(parameter, twin.get_parameter(name)), name

    def test_encode_announced_points_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer = FusedTrainer(random_field(CONFIGS["dense and hashed"]), threads=1)
        first, second = random_batch(1000, seed=0), random_batch(1000, seed=1)
        trainer.step(*first, 1e-2, 1e-3, second[0])
        with monkeypatch.context() as patch:
            patch.setattr(load_kernels(), "encode_levels", lambda *_: pytest.fail("again"))
            trainer.step(*second, 1e-2, 1e-3)

    def test_refuse_a_decay_that_16_bits_cannot_follow(self) -> None:
        with pytest.raises(ValueError, match=r"0\.999"):
            FusedTrainer(random_field(CONFIGS["one level"]), 1, betas=(0.9, 0.999))

    @pytest.mark.parametrize("threads", [2, 3, 40])
    def test_do_not_depend_on_the_number_of_threads(self, field: NeuralField, threads: int) -> None:
        twin = random_field(field.config)
        one, several = FusedTrainer(field, 1), FusedTrainer(twin, threads)
        for step in range(4):
            batch = random_batch(2000 + step, seed=step)
            assert one.step(*batch, 1e-2, 1e-3) == several.step(*batch, 1e-2, 1e-3)
        for name, parameter in field.named_parameters():
            assert torch.equal(parameter, twin.get_parameter(name)), name


class TestAvailability:
    @pytest.mark.parametrize(
        ("config", "named"),
        [
            (FieldConfig(encoding=HashGridConfig(dimension=2)), "2D"),
            (FieldConfig(encoding=HashGridConfig(levels=2, features=4)), "4 features"),
            (FieldConfig(decoder=DecoderConfig(width=30)), "30"),
            (FieldConfig(decoder=DecoderConfig(hidden_layers=3)), "3 hidden layers"),
            (FieldConfig(decoder=DecoderConfig(channels=3)), "3 channels"),
        ],
    )
    def test_names_what_is_not_supported(self, config: FieldConfig, named: str) -> None:
        assert named in (reason_unavailable(NeuralField(config)) or "")

    def test_needs_float32(self) -> None:
        module = NeuralField(CONFIGS["one level"]).double()
        assert "float64" in (reason_unavailable(module) or "")

    def test_without_numba_there_is_a_reason(self, tmp_path: Path) -> None:
        report = in_new_process("sys.modules['numba'] = None", tmp_path)
        assert "numba" in report["reason"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_does_not_hang() -> None:
    field = random_field(CONFIGS["dense and hashed"])
    points, batch = random_points(10_000), random_batch(2000)
    evaluate, trainer = FusedEvaluator(field, threads=2), FusedTrainer(field, threads=2)
    expected = evaluate(points)
    loss, _ = trainer.gradients(*batch)
    child = os.fork()
    if child == 0:
        same = np.array_equal(evaluate(points), expected)
        os._exit(0 if same and trainer.step(*batch, 1e-2, 1e-2) == loss else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("The child was still running after a minute.")


def in_new_process(preparation: str, cache: Path, **environment: str) -> dict[str, object]:
    """Compare a field with the reference in a new process whose kernel cache lies in `cache`."""
    script = f"""
        import json, sys
        sys.path.insert(0, {str(BACKEND)!r})
        {preparation}
        import numpy as np, torch
        from fairfield.fields import FieldConfig, HashGridConfig, NeuralField
        from fairfield.fused import FusedEvaluator, FusedTrainer, reason_unavailable, warm_up
        warm_up(2)
        torch.manual_seed(0)
        module = NeuralField(FieldConfig(encoding=HashGridConfig(levels=6, log2_table_size=12)))
        report = {{"reason": reason_unavailable(module)}}
        if report["reason"] is None:
            torch.nn.init.uniform_(module.encoding.table)
            points = torch.rand(1000, 3) * 2 - 1
            values = module.correction(points)[:, 0]
            ones = torch.ones(1000)
            (values + 10).abs().mean().backward()
            fused = FusedEvaluator(module, 2)(points.numpy())
            report["value error"] = float(np.abs(fused - values.detach().numpy()).max())
            trainer = FusedTrainer(module, 2)
            _, gradients = trainer.gradients(points.numpy(), -10 * ones.numpy(), ones.numpy())
            report["gradient error"] = max(
                float(np.abs(gradients[name] - parameter.grad.numpy()).max())
                for name, parameter in module.named_parameters()
            )
            trainer.step(points.numpy(), -10 * ones.numpy(), ones.numpy(), 1e-3, 1e-3)
        print(json.dumps(report))
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def assert_works(report: dict[str, object]) -> None:
    assert report["reason"] is None
    assert report["value error"] < 5e-5
    assert report["gradient error"] < 5e-5


class TestCache:
    @pytest.fixture
    def compiled(self, tmp_path: Path) -> Path:
        """A copy of this process's compiled kernels: the folder to set as NUMBA_CACHE_DIR."""
        warm_up(1)
        folder = kernel_cache.kernel_folder()
        assert folder is not None
        shutil.copytree(folder, tmp_path / "fairfield" / folder.name)
        return tmp_path

    def test_is_used_by_a_new_process(self, compiled: Path) -> None:
        before = contents(compiled)
        report = in_new_process("", compiled)
        assert_works(report)
        assert contents(compiled) == before

    @pytest.mark.parametrize("listed", [False, True], ids=["noticed", "not noticed"])
    @pytest.mark.parametrize("suffix", ["nbi", "nbc"])
    def test_damage_is_never_fatal(self, compiled: Path, suffix: str, listed: bool) -> None:
        """Damage is noticed by its checksum; `listed` is what numba has to stumble over."""
        damaged = list(compiled.rglob(f"*adam_dense*.{suffix}"))
        assert damaged
        for file in damaged:
            file.write_bytes(b"\x80\x05garbage" + os.urandom(64))
        if listed:
            kernel_cache.record(next((compiled / "fairfield").iterdir()))
        assert_works(in_new_process("", compiled))
        if not listed:
            before = contents(compiled)
            assert_works(in_new_process("", compiled))
            assert contents(compiled) == before

    def test_damaged_files_are_deleted(self, tmp_path: Path) -> None:
        intact, cut, flipped, unknown = (tmp_path / f"{name}.nbc" for name in "abcd")
        for file in (intact, cut, flipped):
            file.write_bytes(bytes(range(100)))
        kernel_cache.record(tmp_path)
        cut.write_bytes(bytes(range(50)))
        flipped.write_bytes(bytes(range(99)) + b"!")
        unknown.write_bytes(b"whatever")
        kernel_cache.discard_damaged(tmp_path)
        assert sorted(tmp_path.glob("*.nbc")) == [intact]

    @pytest.mark.parametrize("listing", [b"", b"[1]", b"\xff\xfe{", b'{"a.nbc": 3}'])
    def test_a_damaged_list_counts_as_empty(self, tmp_path: Path, listing: bytes) -> None:
        (tmp_path / "a.nbc").write_bytes(b"kernel")
        (tmp_path / "checksums.json").write_bytes(listing)
        kernel_cache.discard_damaged(tmp_path)
        assert not list(tmp_path.glob("*.nbc"))
        kernel_cache.record(tmp_path)
        assert json.loads((tmp_path / "checksums.json").read_text()) == {}

    def test_nowhere_to_write_and_plain_kernels(self, tmp_path: Path) -> None:
        """Without a cache folder and without vector instructions, everything works the same."""
        occupied = tmp_path / "a file, not a folder"
        occupied.write_text("")
        before = set(BACKEND.rglob("*.nbi"))
        assert_works(in_new_process("", occupied, FAIRFIELD_KERNELS="plain"))
        assert set(BACKEND.rglob("*.nbi")) == before

    def test_lies_in_the_users_cache_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
        folder = kernel_cache.kernel_folder()
        assert folder is not None
        assert tmp_path in folder.parents


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_any_number_of_threads_can_be_warmed_up() -> None:
    assert warm_up(64) is None
