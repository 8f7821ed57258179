import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import scoremix
from scoremix.cli import app as cli
from scoremix.cli.using import load_with_columns
from scoremix.samples.formats import FORMATS
from scoremix.samples.tables import read_table, write_table
from scoremix.storage import read_model

CELLS = ["--correction-of", "nothing", "--degree", "1"]
FAST = ["--levels", "4", "--draws", "1", *CELLS, "--noise-scale", "1", "--seed", "0"]
GAUSSIAN = ["--model", "gaussian", "--seed", "0"]
DDPM = ["--model", "ddpm", "--seed", "0"]
CENTRES = np.array([[-6.0, 0.0], [6.0, 3.0]])
NAMES = ["a [m]", "b, in s"]


def rows(n=300, seed=0):
    """Two clusters of unit noise."""
    rng = np.random.default_rng(seed)
    return CENTRES[rng.integers(2, size=n)] + rng.standard_normal((n, 2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a table."""
    monkeypatch.chdir(tmp_path)
    write_table("data.csv", NAMES, rows())
    return tmp_path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model of the table, as a file that no test may change."""
    folder = tmp_path_factory.mktemp("fitted")
    write_table(folder / "data.csv", NAMES, rows())
    assert cli.main(["fit", str(folder / "data.csv"), "-o", str(folder / "model"), *FAST]) == 0
    return folder / "model"


@pytest.fixture
def model(folder, fitted):
    """The working directory with a model of its table."""
    return Path(shutil.copy(fitted, folder / "model"))


@pytest.fixture(scope="module")
def fitted_mixture(tmp_path_factory):
    """A Gaussian model of the table, as a file that no test may change."""
    folder = tmp_path_factory.mktemp("fitted_mixture")
    write_table(folder / "data.csv", NAMES, rows())
    assert cli.main(["fit", str(folder / "data.csv"), "-o", str(folder / "mixture"), *GAUSSIAN]) == 0
    return folder / "mixture"


@pytest.fixture
def mixture(folder, fitted_mixture):
    """The working directory with a Gaussian model of its table."""
    return Path(shutil.copy(fitted_mixture, folder / "mixture"))


def succeed(capsys, *words):
    """Run a command that must succeed without complaints, and return what it prints."""
    status = cli.main(words)
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def refuse(capsys, *words):
    """Run a command that must refuse its input, and return its one line."""
    before = sorted(os.listdir())
    status = cli.main(words)
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("scoremix: ")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before
    return err


# What commands do -------------------------------------------------------------------------------------------


def test_fit_says_what_it_found(folder, capsys):
    out = succeed(capsys, "fit", "data.csv", "-o", "model", *FAST)
    assert "data.csv: 300 rows" in out
    assert "2 cells in 2 columns; noise scale 1 in the units of the data (as given)" in out
    assert "a [m]" in out
    assert "b, in s" in out
    assert sorted(os.listdir()) == ["data.csv", "model"]


def test_info_says_the_same_as_fit(folder, capsys):
    fitted = succeed(capsys, "fit", "data.csv", "-o", "model", *FAST)
    assert succeed(capsys, "info", "model").splitlines()[1:] == fitted.splitlines()[1:]


def test_fit_is_reproducible_with_a_seed(model, capsys):
    succeed(capsys, "fit", "data.csv", "-o", "again", *FAST)
    _, header, arrays = read_model(model)
    _, header_again, arrays_again = read_model("again")
    assert header == header_again
    assert arrays.keys() == arrays_again.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_again[name])


def test_options_reach_the_estimator(folder, capsys):
    succeed(
        capsys, "fit", "data.csv", "-o", "model", "--levels", "4", "--draws", "3", "--degree", "2",
        "--gates", "hard", "--correction-of", "nothing", "--noise-scale", "0.9", "--min-weight", "0.01",
        "--sigma-min", "0.4", "--sigma-max", "20", "--rank", "1", "--seed", "3",
    )  # fmt: skip
    parameters = scoremix.load("model").get_params()
    expected = {
        "n_levels": 4, "n_draws": 3, "degree": 2, "gates": "hard", "noise_scale": 0.9, "correction_of": "nothing",
        "min_weight": 0.01, "sigma_min": 0.4, "sigma_max": 20.0, "rank": 1,
    }  # fmt: skip
    assert {name: parameters[name] for name in expected} == expected


def test_the_noise_scale_is_found_by_default(folder, capsys):
    out = succeed(capsys, "fit", "data.csv", "-o", "model", "--levels", "5", "--seed", "0")
    assert "(chosen from the data)" in out
    # Unit noise from 300 rows: the standard error of a deviation is 0.04, and the choice is rough.
    assert 0.6 < scoremix.load("model").noise_scale_ < 1.4


@pytest.mark.parametrize("chosen", [["--columns", "b"], ["--columns", " b "], ["--columns", '"b"']])
def test_columns(folder, capsys, chosen):
    write_table("three.csv", ["name", "b", "c, d"], np.column_stack([np.arange(300), rows()]))
    out = succeed(capsys, "fit", "three.csv", "-o", "model", *chosen, *FAST)
    assert "2 cells in 1 column;" in out
    assert scoremix.load("model").columns_.names == ("b",)


@pytest.mark.parametrize("chosen", [['"c, d",b'], ['"c, d"', "--columns", "b"]])
def test_several_columns_in_the_order_asked_for(folder, capsys, chosen):
    write_table("three.csv", ["name", "b", "c, d"], np.column_stack([np.arange(300), rows()]))
    succeed(capsys, "fit", "three.csv", "-o", "model", "--columns", *chosen, *FAST)
    assert scoremix.load("model").columns_.names == ("c, d", "b")


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_from_fit_to_samples_and_denoised_rows(folder, capsys, ending):
    names = ["x0", "x1"]
    write_table(f"data{ending}", names, rows())
    succeed(capsys, "fit", f"data{ending}", "-o", "model", *FAST)
    out = succeed(capsys, "sample", "model", "-n", "20", "-o", f"new{ending}", "--seed", "1")
    assert out == f"new{ending}: 20 samples\n"
    out = succeed(capsys, "denoise", "model", f"data{ending}", "-o", f"clean{ending}")
    assert out == f"clean{ending}: 300 rows, denoised\n"
    for name, count in ((f"new{ending}", 20), (f"clean{ending}", 300)):
        found, array = read_table(name)
        assert found == names
        assert array.shape == (count, 2)


def test_samples_are_reproducible_and_come_in_the_datas_units(model, capsys):
    tables = []
    for seed in ("1", "1", "2"):
        succeed(capsys, "sample", "model", "-n", "400", "-o", "new.csv", "--seed", seed)
        names, array = read_table("new.csv")
        assert names == NAMES
        tables.append(array)
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])
    # Standard errors of the means of 400 samples and of 300 rows: 0.3 and 0.35; four of both together.
    np.testing.assert_allclose(tables[0].mean(axis=0), rows().mean(axis=0), atol=1.9)


@pytest.mark.parametrize("method", ["dpm", "ancestral", "reverse_sde", "probability_flow"])
def test_every_sampling_method(model, capsys, method):
    succeed(capsys, "sample", "model", "-n", "5", "-o", "new.npy", "--method", method, "--steps", "7")
    assert read_table("new.npy")[1].shape == (5, 2)


def test_denoised_rows_lie_at_the_centres(model, capsys):
    succeed(capsys, "denoise", "model", "data.csv", "-o", "clean.csv")
    names, clean = read_table("clean.csv")
    assert names == NAMES
    distance = np.linalg.norm(clean[:, None] - CENTRES, axis=2).min(axis=1)
    # The noise has length 1.25 on average; what is left is the error of the fit.
    assert distance.mean() < 0.4


def test_denoise_takes_away_the_noise_that_was_added(folder, capsys):
    succeed(capsys, "fit", "data.csv", "-o", "model", *FAST[2:])
    clean = rows(200, seed=5)
    noisy = clean + 2.0 * np.random.default_rng(6).standard_normal(clean.shape)
    write_table("noisy.csv", NAMES, noisy)
    succeed(capsys, "denoise", "model", "noisy.csv", "-o", "out.csv", "--sigma", "2")
    error = np.mean((read_table("out.csv")[1] - clean) ** 2)
    # Per coordinate: 4 in the noisy rows, 1 / (1 + 1/4) = 0.8 at best; a fit to 300 rows may lose half.
    assert error < 1.2


def test_standardised_models_speak_the_datas_units(folder, capsys):
    array = rows() * [1e-3, 1e4] + [5.0, -7.0]
    write_table("wild.csv", NAMES, array)
    out = succeed(capsys, "fit", "wild.csv", "-o", "model", "--standardize", *FAST[:-4], "--noise-scale", "0.3")
    assert "in standard deviations of the columns" in out
    columns = load_with_columns(Path("model"))[1]
    np.testing.assert_allclose(columns.location, array.mean(axis=0))
    np.testing.assert_allclose(columns.scale, array.std(axis=0))
    succeed(capsys, "sample", "model", "-n", "500", "-o", "new.csv", "--seed", "0")
    spread = (read_table("new.csv")[1] - array.mean(axis=0)) / array.std(axis=0)
    np.testing.assert_allclose(spread.mean(axis=0), 0, atol=0.25)
    np.testing.assert_allclose(spread.std(axis=0), 1, atol=0.25)


def test_fit_draws_a_figure(folder, capsys):
    succeed(capsys, "fit", "data.csv", "-o", "model", "--figure", "fit.png", *FAST)
    assert sorted(os.listdir()) == ["data.csv", "fit.png", "model"]


def test_models_saved_by_the_library_without_columns(folder, capsys):
    scoremix.DiffusionMixture(n_levels=4, random_state=0).fit(rows()).save("plain")
    assert "x0" in succeed(capsys, "info", "plain")
    succeed(capsys, "denoise", "plain", "data.csv", "-o", "clean.csv")
    assert read_table("clean.csv")[0] == ["x0", "x1"]


def test_models_fitted_on_a_frame_keep_its_names(folder, capsys):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows(), columns=NAMES)
    scoremix.DiffusionMixture(n_levels=4, random_state=0).fit(frame).save("framed")
    assert NAMES[0] in succeed(capsys, "info", "framed")
    succeed(capsys, "denoise", "framed", "data.csv", "-o", "clean.csv")
    assert read_table("clean.csv")[0] == NAMES


def test_version_and_help(capsys):
    assert succeed(capsys, "--version") == f"scoremix {scoremix.__version__}\n"
    helped = succeed(capsys)
    for command in ("demo", "fit", "sample", "denoise", "score", "info"):
        assert command in helped
        assert "Usage: scoremix" in succeed(capsys, command, "--help")


# Gaussian models --------------------------------------------------------------------------------------------


def density(parameters, points):
    """Density of a mixture at points, by the book."""
    total = np.zeros(len(points))
    for weight, mean, covariance in zip(*parameters, strict=True):
        deviations = points - mean
        squares = np.einsum("ni,ij,nj->n", deviations, np.linalg.inv(covariance), deviations)
        total += weight * np.exp(-squares / 2) / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return total


def test_a_gaussian_fit_says_what_it_found(folder, capsys):
    lines = succeed(capsys, "fit", "data.csv", "-o", "mixture", *GAUSSIAN).splitlines()
    found = scoremix.load("mixture")
    assert lines[:5] == [
        "data.csv: 300 rows",
        "2 components in 2 columns (chosen from the data); covariances: full",
        f"mean log likelihood {found.lower_bound_:.6g} nats per row",
        f"converged after {found.n_iter_} EM steps",
        f"optimality check: largest split gain {found.split_gain_:.3g} nats per row, "
        f"smallest merge cost {found.merge_cost_:.3g}",
    ]
    assert lines[8].split() == ["component", "weight", "a", "[m]", "b,", "in", "s"]
    # Standard error of a mean of 150 rows: 0.08; four of them.
    np.testing.assert_allclose(found.means_, CENTRES, atol=0.33)
    assert list(found.feature_names_in_) == NAMES
    assert found.random_state == 0
    assert sorted(os.listdir()) == ["data.csv", "mixture"]


def test_a_gaussian_fit_is_that_of_the_estimator(mixture):
    by_hand = scoremix.GaussianMixture("auto", random_state=0).fit(rows())
    np.testing.assert_array_equal(scoremix.load(mixture).covariances_, by_hand.covariances_)


def test_info_says_the_same_as_a_gaussian_fit(folder, capsys):
    fitted = succeed(capsys, "fit", "data.csv", "-o", "mixture", *GAUSSIAN)
    assert succeed(capsys, "info", "mixture").splitlines()[1:] == fitted.splitlines()[1:]


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("number", ["1", "3", "auto"])
def test_components_and_covariance_type(folder, capsys, kind, number):
    chosen = ["--components", number, "--covariance", kind]
    out = succeed(capsys, "fit", "data.csv", "-o", "mixture", *chosen, *GAUSSIAN)
    found = scoremix.load("mixture")
    assert found.n_components_ == (2 if number == "auto" else int(number))
    assert found.n_components == (number if number == "auto" else int(number))
    assert found.covariance_type == kind
    assert f"({'chosen from the data' if number == 'auto' else 'as given'}); covariances: {kind}" in out


@pytest.mark.parametrize(
    "words", ["--model gaussian --covariance-type diag", "--model gaussian --covariance diag --components 2"]
)
def test_the_old_name_of_an_option_goes_on_working(folder, capsys, words):
    assert "covariances: diag" in succeed(capsys, "fit", "data.csv", "-o", "m", *words.split())
    assert "covariance-type" not in succeed(capsys, "fit", "--help")


def test_columns_that_are_named_like_those_of_our_own_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_table("data.csv", ["weight", "component"], rows())
    out = succeed(capsys, "fit", "data.csv", "-o", "m", *GAUSSIAN)
    assert re.search(r"component +weight +weight +component", out)
    (shares,) = {tuple(re.findall(r"[0-9.]+%", line)) for line in out.splitlines() if line.split()[:1] == ["1"]}
    assert len(shares) == 1
    assert succeed(capsys, "info", "m").splitlines()[1:] == out.splitlines()[1:]
    succeed(capsys, "sample", "m", "-n", "5", "-o", "s.csv", "--seed", "0")
    assert read_table("s.csv")[0] == ["weight", "component"]
    write_table("data.csv", ["cell", "weight"], rows())
    assert re.search(r"cell +weight +cell +weight", succeed(capsys, "fit", "data.csv", "-o", "c", *FAST))


def test_names_may_be_as_long_as_the_file_system_has_them(folder, capsys):
    name = "m" * 255
    succeed(capsys, "fit", "data.csv", "-o", name, *GAUSSIAN)
    succeed(capsys, "sample", name, "-n", "5", "-o", "s" * 251 + ".csv")
    assert read_table("s" * 251 + ".csv")[1].shape == (5, 2)


def test_csv_files_of_other_programs_from_fit_to_score(mixture, capsys):
    text = "a [m];b, in s\r\n" + "".join(f"{a};{b}\r\n".replace(".", ",") for a, b in rows().tolist())
    Path("european.csv").write_bytes(text.encode("utf-16"))
    assert (
        succeed(capsys, "score", "mixture", "european.csv").split(":")[1]
        == (succeed(capsys, "score", "mixture", "data.csv").split(":")[1])
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_behind_a_pipe_is_named(mixture):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "scoremix.cli.app", "info", "mixture"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(scoremix.__file__).parents[1])},
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("scoremix: standard output: No space left on device")


def test_the_default_model_is_diffusion(folder, capsys):
    succeed(capsys, "fit", "data.csv", "-o", "named", "--model", "diffusion", *FAST)
    succeed(capsys, "fit", "data.csv", "-o", "default", *FAST)
    assert read_model("named")[:2] == read_model("default")[:2]


def test_a_gaussian_model_of_some_columns(folder, capsys):
    write_table("three.csv", ["name", "b", "c, d"], np.column_stack([np.arange(300), rows()]))
    succeed(capsys, "fit", "three.csv", "-o", "mixture", "--columns", '"c, d",b', *GAUSSIAN)
    assert list(scoremix.load("mixture").feature_names_in_) == ["c, d", "b"]
    succeed(capsys, "denoise", "mixture", "three.csv", "-o", "clean.csv", "--sigma", "1")
    assert read_table("clean.csv")[0] == ["c, d", "b"]


@pytest.mark.parametrize("ending", FORMATS)
def test_missing_values(folder, capsys, ending):
    array = rows()
    array[:100:10, 0] = np.nan
    array[5:100:10, 1] = np.nan
    write_table(f"gaps{ending}", NAMES, array)
    out = succeed(capsys, "fit", f"gaps{ending}", "-o", "mixture", *GAUSSIAN)
    assert out.startswith(f"gaps{ending}: 300 rows, 20 of them with missing values\n2 components")
    found = scoremix.load("mixture")
    by_hand = scoremix.GaussianMixture("auto", random_state=0, missing_values=np.nan).fit(array)
    np.testing.assert_array_equal(found.means_, by_hand.means_)


def test_a_fit_that_did_not_converge_says_so(folder, capsys):
    with pytest.warns(UserWarning, match="did not converge"):
        scoremix.GaussianMixture(2, max_iter=1, tol=0, random_state=0).fit(rows()).save("mixture")
    assert "not converged after 1 EM step\n" in succeed(capsys, "info", "mixture")


@pytest.mark.parametrize("ending", FORMATS)
def test_gaussian_models_in_every_format_from_fit_to_denoised_rows(folder, capsys, ending):
    names = ["x0", "x1"]
    write_table(f"data{ending}", names, rows())
    fitted = succeed(capsys, "fit", f"data{ending}", "-o", "mixture", *GAUSSIAN)
    assert succeed(capsys, "info", "mixture").splitlines()[1:] == fitted.splitlines()[1:]
    succeed(capsys, "score", "mixture", f"data{ending}", "-o", f"scored{ending}")
    assert read_table(f"scored{ending}")[1].shape == (300, 1)
    out = succeed(capsys, "sample", "mixture", "-n", "20", "-o", f"new{ending}", "--seed", "1")
    assert out == f"new{ending}: 20 samples\n"
    out = succeed(capsys, "denoise", "mixture", f"data{ending}", "-o", f"clean{ending}", "--sigma", "0.5")
    assert out == f"clean{ending}: 300 rows, denoised\n"
    for name, count in ((f"new{ending}", 20), (f"clean{ending}", 300)):
        found, array = read_table(name)
        assert found == names
        assert array.shape == (count, 2)


def test_score_is_the_log_density_with_its_standard_error(mixture, capsys):
    new = rows(200, seed=3)
    write_table("new.csv", ["other", *NAMES[::-1]], np.column_stack([np.zeros(200), new[:, ::-1]]))
    out = succeed(capsys, "score", "mixture", "new.csv", "-o", "scored.csv")
    found = scoremix.load(mixture)
    expected = np.log(density((found.weights_, found.means_, found.covariances_), new))
    names, scored = read_table("scored.csv")
    assert names == ["log_density"]
    np.testing.assert_allclose(scored[:, 0], expected, rtol=1e-10)
    error = expected.std(ddof=1) / np.sqrt(200)
    assert out == (
        f"new.csv: 200 rows, mean log density {expected.mean():.6g} nats per row, standard error {error:.2g}\n"
    )


def mean_log_density():
    """What is said of the rows, by the library."""
    model = scoremix.GaussianMixture("auto", random_state=0).fit(rows())
    return f"mean log density {model.score(rows()):.6g}"


def test_score_without_output_writes_nothing(mixture, capsys):
    before = sorted(os.listdir())
    assert succeed(capsys, "score", "mixture", "data.csv").startswith(f"data.csv: 300 rows, {mean_log_density()} nats")
    assert sorted(os.listdir()) == before


def test_score_of_one_row(mixture, capsys):
    write_table("one.csv", NAMES, CENTRES[:1])
    value = scoremix.GaussianMixture("auto", random_state=0).fit(rows()).score_samples(CENTRES[:1])[0]
    assert succeed(capsys, "score", "mixture", "one.csv") == f"one.csv: 1 row, log density {value:.6g} nats\n"


@pytest.mark.parametrize("words", [[], ["--standardize"], CELLS])
def test_score_of_diffusion_models_is_a_density_in_the_columns_units(folder, capsys, words):
    succeed(capsys, "fit", "data.csv", "-o", "m", "--levels", "12", "--seed", "0", *words)
    out = succeed(capsys, "score", "m", "data.csv", "-o", "scored.csv")
    assert out.startswith("data.csv: 300 rows, mean log density -3.")
    # Against the fit of the true shape: the noise scale is a rough choice, a fifth of a nat a fifth of the density.
    expected = scoremix.GaussianMixture(2, random_state=0).fit(rows()).score_samples(rows())
    assert np.mean(read_table("scored.csv")[1][:, 0] - expected) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(
    "words",
    [
        [],
        pytest.param(["--correction-of", "nothing"], marks=pytest.mark.slow),
        pytest.param(["--correction-of", "nothing", "--gates", "hard"], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_general_covariances(folder, capsys, words):
    out = succeed(capsys, "fit", "data.csv", "-o", "m", "--covariance", "general", "--seed", "0", *words)
    # Hard gates are judged on few rows here, and may leave it at one.
    (said,) = re.findall(r"^([12] cells? in 2 columns; covariances learnt)$", out, re.MULTILINE)
    assert succeed(capsys, "info", "m").splitlines()[1] == said
    for command in (["sample", "m", "-n", "30"], ["denoise", "m", "data.csv"], ["score", "m", "data.csv"]):
        succeed(capsys, *command, "-o", "out.csv")
        assert np.all(np.isfinite(read_table("out.csv")[1]))


def test_gaussian_samples_are_reproducible_and_have_the_datas_moments(mixture, capsys):
    tables = []
    for seed in ("1", "1", "2"):
        succeed(capsys, "sample", "mixture", "-n", "400", "-o", "new.csv", "--seed", seed)
        names, array = read_table("new.csv")
        assert names == NAMES
        tables.append(array)
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])
    # Standard errors of the means of 400 samples and of 300 rows: 0.3 and 0.35; four of both together.
    np.testing.assert_allclose(tables[0].mean(axis=0), rows().mean(axis=0), atol=1.9)


def test_a_gaussian_model_takes_away_the_noise_that_was_added(mixture, capsys):
    clean = rows(200, seed=5)
    noisy = clean + 2.0 * np.random.default_rng(6).standard_normal(clean.shape)
    write_table("noisy.csv", NAMES, noisy)
    succeed(capsys, "denoise", "mixture", "noisy.csv", "-o", "out.csv", "--sigma", "2")
    # Per coordinate: 4 in the noisy rows, 1 / (1 + 1/4) = 0.8 at best, with a standard error of 0.06: seven of these.
    assert np.mean((read_table("out.csv")[1] - clean) ** 2) < 1.2


def test_gaussian_models_saved_by_the_library(folder, capsys):
    scoremix.GaussianMixture.from_parameters([1.0], [[0.0, 1.0]], [[1.0, 2.0]], "diag").save("plain")
    out = succeed(capsys, "info", "plain")
    assert "1 component in 2 columns (as given); covariances: diag" in out
    assert "optimality not checked" in out
    assert "x0" in out
    succeed(capsys, "denoise", "plain", "data.csv", "-o", "clean.csv", "--sigma", "1")
    assert read_table("clean.csv")[0] == ["x0", "x1"]


def test_a_ddpm_model_from_fit_to_every_other_command(folder, capsys):
    words = [*DDPM, "--noise-times", "0.5,all", "--n-steps", "30,20", "--step-rule", "scaled", "--learning-rate", "1"]
    out = succeed(capsys, "fit", "data.csv", "-o", "descent", *words)
    by_hand = scoremix.DDPMMixture(
        noise_times=(0.5, "all"), n_steps=(30, 20), step_rule="scaled", learning_rate=1.0, random_state=0
    ).fit(rows())
    again = scoremix.load("descent")
    np.testing.assert_array_equal(again.means_, by_hand.means_)
    assert list(again.feature_names_in_) == NAMES
    assert "2 components in 2 columns; covariances: spherical, known" in out
    assert "stage 1: noise time 0.5" in out
    assert "stage 2: 14 noise levels" in out
    assert succeed(capsys, "info", "descent").splitlines()[1:] == out.splitlines()[1:]
    scored = succeed(capsys, "score", "descent", "data.csv")
    assert f"{by_hand.score(rows()):.6g}" in scored
    succeed(capsys, "sample", "descent", "-n", "50", "-o", "samples.csv", "--seed", "0")
    np.testing.assert_array_equal(read_table("samples.csv")[1], by_hand.sample(50, random_state=0)[0])
    succeed(capsys, "denoise", "descent", "data.csv", "-o", "clean.csv", "--sigma", "1")
    np.testing.assert_allclose(read_table("clean.csv")[1], by_hand.denoise(rows(), 1.0))


@pytest.mark.parametrize(
    ("option", "kind"),
    [("--covariance full", "full, learnt"), ("--covariance 4.0", "spherical, known"), ("--symmetric", "spherical")],
)
def test_options_of_ddpm_models(folder, capsys, option, kind):
    out = succeed(capsys, "fit", "data.csv", "-o", "m", *DDPM, "--n-steps", "3,3", *option.split())
    assert f"covariances: {kind}" in out


DIFFUSION_OPTIONS = [
    "--standardize", "--noise-scale auto", "--min-weight 0.003", "--levels 16", "--draws 2", "--degree auto",
    "--gates soft", "--sigma-min 1", "--sigma-max 9", "--rank 1", "--figure fit.png",
    "--correction-of mixture",
]  # fmt: skip


@pytest.mark.parametrize("option", DIFFUSION_OPTIONS)
def test_gaussian_fits_refuse_options_of_diffusion_models_even_at_their_defaults(folder, capsys, option):
    line = refuse(capsys, "fit", "data.csv", "-o", "m", *GAUSSIAN, *option.split())
    assert line == f"scoremix: {option.split()[0]} is not an option of gaussian models: leave it out\n"


DDPM_OPTIONS = [
    "--symmetric", "--noise-times 1.5,0.1", "--n-steps 7000,1500", "--learning-rate 0.05",
    "--step-rule auto",
]  # fmt: skip


@pytest.mark.parametrize("option", DDPM_OPTIONS)
def test_gaussian_fits_refuse_options_of_ddpm_models_even_at_their_defaults(folder, capsys, option):
    line = refuse(capsys, "fit", "data.csv", "-o", "m", *GAUSSIAN, *option.split())
    assert line == f"scoremix: {option.split()[0]} is not an option of gaussian models: leave it out\n"


@pytest.mark.parametrize("option", DIFFUSION_OPTIONS)
def test_ddpm_fits_refuse_options_of_other_models_even_at_their_defaults(folder, capsys, option):
    line = refuse(capsys, "fit", "data.csv", "-o", "m", *DDPM, *option.split())
    assert line == f"scoremix: {option.split()[0]} is not an option of ddpm models: leave it out\n"


@pytest.mark.parametrize("option", ["--components auto", "--components 3", *DDPM_OPTIONS])
def test_diffusion_fits_refuse_options_of_gaussian_models_even_at_their_defaults(folder, capsys, option):
    line = refuse(capsys, "fit", "data.csv", "-o", "m", *option.split())
    assert line == f"scoremix: {option.split()[0]} is not an option of diffusion models: leave it out\n"


def test_every_option_of_fit_belongs_to_a_kind_of_model():
    command = next(command for command in cli.app.registered_commands if command.name == "fit")
    options = {f"--{name.replace('_', '-')}" for name in command.callback.__annotations__}
    shared = {"--context", "--data", "--output", "--model", "--columns", "--seed", "--return"}
    for_all = {"--components", "--covariance", "--covariance-type", "--covariance-model"}
    assert options == shared | for_all | {option.split()[0] for option in DIFFUSION_OPTIONS + DDPM_OPTIONS}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("fit data.csv -o m --model magic", "--model"),
        ("fit data.csv -o m --model gaussian --components many", "'many' is neither 'auto' nor a whole number"),
        ("fit data.csv -o m --model gaussian --components 2.5", "'2.5' is neither 'auto' nor a whole number"),
        ("fit data.csv -o m --model gaussian --components 0", "n_components"),
        ("fit data.csv -o m --model gaussian --components 301", "n_components = 301, n_samples = 300"),
        ("fit equal.csv -o m --model ddpm --components 3", "more than X has distinct rows"),
        ("fit data.csv -o m --model gaussian --covariance round", "--covariance: 'round' is none of full, tied, diag,"),
        ("fit data.csv -o m --model gaussian --covariance-type round", "--covariance-type: 'round' is none of full"),
        ("fit data.csv -o m --model gaussian --covariance general", "'general' is none of full, tied, diag, spherical"),
        ("fit data.csv -o m --model gaussian --covariance 2", "'2' is none of full, tied, diag, spherical"),
        ("fit data.csv -o m --covariance full", "'full' is none of auto, identity, general"),
        ("fit data.csv -o m --covariance general --covariance-model general", "are the same option: give one of them"),
        ("fit data.csv -o m.pkl --model gaussian", "m.pkl: models are no .pkl files: give a name that ends in .safet"),
        ("fit data.csv -o m.csv", "m.csv: models are no .csv files"),
        ("fit data.csv -o m --sigma-max 1e160", "sigma_max=1e+160 is out of range"),
        ("fit data.csv -o m --sigma-min 1e-320", "sigma_min=1e-320 is out of range"),
        ("fit data.csv -o m --noise-scale 1e160", "noise_scale=1e+160 is out of range"),
        (f"fit data.csv -o m --model gaussian --components 1{'0' * 30}", "n_components = 1000"),
        ("denoise mixture data.csv -o s.csv --sigma 1e160", "sigma=1e+160 is out of range"),
        ("denoise model data.csv -o s.csv --sigma 1e160", "sigma=1e+160 is out of range"),
        ("sample mixture -n 100000000000000 -o s.csv", "not enough memory"),
        (f"sample mixture -n 1{'0' * 20} -o s.csv", "n_samples=100000000000000000000 is out of range"),
        (f"sample mixture -n 3 -o {'s' * 252}.csv", "File name too long"),
        ("fit missing.csv -o m --model gaussian", "missing.csv does not exist"),
        ("fit gaps.csv -o m --model ddpm", "gaps.csv: column 'a [m]' has 1 missing"),
        ("fit data.csv -o m --model ddpm --noise-times 1,b", "'1,b' is not a list such as 1.5,0.1"),
        ("fit data.csv -o m --model ddpm --noise-times 1,0.5,0.1", "give a number of steps per time"),
        ("fit data.csv -o m --model ddpm --n-steps 1.5,2", "'1.5,2' is not a list"),
        ("fit data.csv -o m --model ddpm --covariance round", "'round' is none of identity, diag, full and no"),
        ("fit data.csv -o m --model ddpm --covariance -1", "positive definite"),
        ("fit data.csv -o m --model ddpm --components 3 --symmetric", "n_components=2"),
        ("fit data.csv -o m --model ddpm --learning-rate 0", "learning_rate"),
        ("fit data.csv -o data.csv --model gaussian", "data.csv is named twice"),
        ("fit data.csv -o nowhere/m --model gaussian", "nowhere does not exist"),
        ("fit data.csv -o m --model gaussian --columns c", "data.csv has no column 'c'"),
        ("fit text.csv -o m --model gaussian", "text.csv: column 'b' holds 'two'"),
        ("fit header.csv -o m --model gaussian", "header.csv has no rows"),
        ("fit hollow.csv -o m --model gaussian", "hollow.csv: column 'b' has 2 missing"),
        ("fit infinite.csv -o m --model gaussian", "infinite.csv: column 'b' has 1 missing or infinite entries"),
        ("fit one_row.csv -o m --model gaussian", "minimum of 2 is required"),
        ("score mixture missing.csv", "missing.csv does not exist"),
        ("score missing data.csv", "missing does not exist"),
        ("score mixture text.csv", "text.csv has no column 'a [m]'"),
        ("score mixture wide.npy", "wide.npy has no column 'a [m]'"),
        ("score mixture gaps.csv", "gaps.csv: column 'a [m]' has 1 missing"),
        ("score mixture data.csv -o s.txt", "unknown ending '.txt'"),
        ("score mixture data.csv -o data.csv", "data.csv is named twice"),
        ("score mixture mixture", "unknown ending ''"),
        ("fit data.csv -o m --covariance general --noise-scale 1", "--noise-scale is not an option of general"),
        ("fit data.csv -o m --degree 2", "degree=2 is for correction_of='nothing'"),
        ("score model wide.npy", "wide.npy has no column 'a [m]'"),
        ("sample mixture -n 3 -o s.csv --steps 5", "--steps is not an option for mixture, which holds a GaussianM"),
        ("sample mixture -n 3 -o s.csv --method dpm", "--method is not an option for mixture"),
        ("sample mixture -n 3 -o s.xlsx", "unknown ending '.xlsx'"),
        ("denoise mixture data.csv -o s.csv", "mixture holds a GaussianMixture: say with --sigma"),
        ("denoise mixture data.csv -o s.csv --sigma -1", "sigma"),
        ("denoise mixture text.csv -o s.csv --sigma 1", "has no column 'a [m]'"),
        ("denoise mixture gaps.csv -o s.csv --sigma 1", "gaps.csv: column 'a [m]' has 1 missing"),
    ],
)
def test_wrong_input_for_gaussian_models(mixture, fitted, capsys, words, fault):
    shutil.copy(fitted, "model")
    texts = {
        "text.csv": "a,b\n1,two\n3,4\n",
        "header.csv": "a,b\n",
        "hollow.csv": "a,b\n1,\n3,\n",
        "infinite.csv": "a,b\n,2\n3,inf\n4,5\n",
        "one_row.csv": "a,b\n1,2\n",
        "equal.csv": "a,b\n" + 5 * "1,2\n3,4\n",
        "gaps.csv": '"a [m]","b, in s"\n,2\n3,4\n',
    }
    for name, text in texts.items():
        Path(name).write_text(text)
    write_table("wide.npy", ["x0", "x1", "x2"], np.ones((3, 3)))
    assert fault in refuse(capsys, *words.split())


# What commands refuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("nonsense", "No such command 'nonsense'"),
        ("fit", "Missing argument 'DATA'"),
        ("fit data.csv", "Missing option"),
        ("fit data.csv -o m --nonsense", "No such option"),
        ("fit data.csv -o m --levels many", "--levels"),
        ("fit data.csv -o m --levels 0", "n_levels"),
        ("fit data.csv -o m --draws 0", "n_draws"),
        ("fit data.csv -o m --degree high", "--degree: 'high' is neither 'auto' nor a whole number"),
        ("fit data.csv -o m --degree -1", "degree"),
        ("fit data.csv -o m --gates open", "--gates"),
        ("fit data.csv -o m --noise-scale loud", "--noise-scale: 'loud' is neither 'auto' nor a number"),
        ("fit data.csv -o m --noise-scale 0", "noise_scale"),
        ("fit data.csv -o m --noise-scale nan", "noise_scale"),
        ("fit data.csv -o m --min-weight 1", "min_weight"),
        ("fit data.csv -o m --sigma-min -1", "sigma_min"),
        ("fit data.csv -o m --rank 7", "rank"),
        ("fit data.csv -o m --seed -1", "--seed"),
        ("fit missing.csv -o m", "missing.csv does not exist"),
        ("fit . -o m", ". is a folder"),
        ("fit folder.csv -o m", "folder.csv is a folder"),
        ("fit empty.csv -o m", "empty.csv is empty"),
        ("fit text.csv -o m", "text.csv: column 'b' holds 'two'"),
        ("fit text.csv -o m --columns c", "text.csv has no column 'c'"),
        ("fit text.csv -o m --columns a,a", "'a' is chosen twice"),
        ("fit data.txt -o m", "data.txt does not exist"),
        ("fit notes.txt -o m", "unknown ending '.txt'"),
        ("fit gaps.csv -o m", "gaps.csv: column 'b' has 1 missing"),
        ("fit one_row.csv -o m", "minimum of 2 is required"),
        ("fit constant.csv -o m --covariance identity", "constant"),
        ("fit constant.csv -o m --standardize", "column 'b' is constant"),
        ("fit data.csv -o folder.csv", "folder.csv is a folder"),
        ("fit data.csv -o nowhere/m", "nowhere does not exist"),
        ("fit data.csv -o data.csv", "data.csv is named twice"),
        ("fit data.csv -o m --figure m", "unknown ending ''"),
        ("fit data.csv -o m --figure fit.csv", "unknown ending '.csv'"),
        ("fit data.csv -o m.png --figure m.png", "m.png is named twice"),
        ("fit data.csv -o m --figure nowhere/fit.png", "nowhere does not exist"),
        ("sample missing -n 3 -o s.csv", "missing does not exist"),
        ("sample notes.txt -n 3 -o s.csv", "notes.txt is not a scoremix model"),
        ("sample model -o s.csv", "Missing option"),
        ("sample model -n 0 -o s.csv", "--number"),
        ("sample model -n 3 -o s", "unknown ending ''"),
        ("sample model -n 3 -o s.xlsx", "unknown ending '.xlsx'"),
        ("sample model -n 3 -o folder.csv", "folder.csv is a folder"),
        ("sample model -n 3 -o s.csv --method magic", "--method"),
        ("sample model -n 3 -o s.csv --steps 0", "--steps"),
        ("denoise model missing.csv -o s.csv", "missing.csv does not exist"),
        ("denoise model text.csv -o s.csv", "has no column 'a [m]'"),
        ("denoise model data.csv -o data.csv", "data.csv is named twice"),
        ("denoise model data.csv -o s.txt", "unknown ending '.txt'"),
        ("denoise model data.csv -o s.csv --sigma -1", "sigma"),
        ("info missing", "missing does not exist"),
        ("info data.csv", "data.csv is not a scoremix model"),
        ("info folder.csv", "folder.csv is a folder"),
        ("info cut", "cut is damaged or was cut short"),
        ("demo --out data.csv", "data.csv is a file: give the path of a folder"),
    ],
)
def test_wrong_input(model, capsys, words, fault):
    texts = {
        "empty.csv": "",
        "notes.txt": "some notes",
        "text.csv": "a,b\n1,two\n3,4\n",
        "gaps.csv": "a,b\n1,\n3,4\n",
        "one_row.csv": "a,b\n1,2\n",
        "constant.csv": "a,b\n1,2\n3,2\n4,2\n",
    }
    for name, text in texts.items():
        (model.parent / name).write_text(text)
    (model.parent / "folder.csv").mkdir()
    (model.parent / "cut").write_bytes(model.read_bytes()[:200])
    assert fault in refuse(capsys, *words.split())


def test_a_failure_leaves_the_old_model(model, capsys):
    before = model.read_bytes()
    refuse(capsys, "fit", "data.csv", "-o", "model", "--min-weight", "7")
    assert model.read_bytes() == before


def test_typer_itself_knows_the_commands():
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert "denoise" in result.output


# The program as users run it --------------------------------------------------------------------------------


def run(*words):
    source = str(Path(scoremix.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "scoremix.cli.app", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": source},
    )


def test_the_program_runs(folder):
    fitted = run("fit", "data.csv", "-o", "model", *FAST)
    assert (fitted.returncode, fitted.stderr) == (0, "")
    assert "2 cells in 2 columns" in fitted.stdout


def test_the_program_scores_and_is_quiet_in_a_pipe(mixture):
    scored = run("score", "mixture", "data.csv", "-o", "scored.parquet")
    assert (scored.returncode, scored.stderr) == (0, "")
    assert scored.stdout.startswith(f"data.csv: 300 rows, {mean_log_density()} nats")
    assert scored.stdout.count("\n") == 1


def test_the_commands_of_the_documentation_run(folder, capsys):
    page = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    block = re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[1]
    for line in block.splitlines():
        succeed(capsys, *shlex.split(line)[1:])
    assert {path.name for path in folder.iterdir()} == {
        "data.csv", "mixture.safetensors", "general.safetensors", "densities.csv", "samples.csv", "clean.csv",
    }  # fmt: skip


def test_the_program_refuses_with_one_line_and_status_2(folder):
    refused = run("fit", "missing.csv", "-o", "model")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr == "scoremix: missing.csv does not exist: check the path\n"
    assert os.listdir() == ["data.csv"]
