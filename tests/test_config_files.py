"""Config files by name, from any folder; a file of the user's first."""

import pathlib

import pytest
from runs import ROOT

from mxjax import cli, config_files, serving
from mxjax.cli.config import command_config
from mxjax.config_files import config_file, first_line, shipped_configs
from mxjax.errors import UserError

NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
MINE = """from mxjax.config import default_config
def get_config(argument=""):
    config = default_config()
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("named", ["quickstart", "configs/quickstart.py"])
@pytest.mark.parametrize("spelled", ["--config {}", "--config={}"])
def test_a_shipped_config_is_found_from_anywhere(named, spelled, elsewhere):
    config, _ = command_config("train", [*spelled.format(named).split(), "--workdir", "runs/a"])
    assert config.init == "random:quickstart" and config.sft.steps == 1500
    assert pathlib.Path(config.roles.designer.prompt).is_file()
    control, _ = command_config("sft", [*spelled.format(f"{named}:continued").split(), "--workdir", "runs/a"])
    assert control.sft.steps == 840


def test_a_file_of_that_path_in_the_current_folder_comes_first(elsewhere):
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs" / "quickstart.py").write_text(MINE + "    config.seed = 7\n    return config\n")
    for named in ("quickstart", "configs/quickstart.py", "configs/quickstart.py:argument"):
        assert command_config("train", ["--config", named, "--workdir", "runs/a"])[0].seed == 7
    (elsewhere / "quickstart").write_text(MINE)
    assert config_file("quickstart") == "quickstart"
    assert config_file("tiny:x") == f"{shipped_configs()['tiny']}:x"


def test_a_shipped_prompt_set_is_found_by_the_path_of_the_source_tree(elsewhere):
    named = "configs/prompts/small_math.toml"
    shipped = config_files.shipped_folder() / "prompts" / "small_math.toml"
    flags = ["--config", "tiny", "--workdir", "runs/a", f"--config.roles.executor.prompt={named}"]
    assert command_config("train", flags)[0].roles.executor.prompt == str(shipped)
    config = serving.default_config()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(serving, "make_roles", lambda config, *_, **__: config.roles.designer.prompt)
        assert serving.serve("random:tiny", config, prompt=named).roles == str(shipped)
    (elsewhere / named).parent.mkdir(parents=True)
    (elsewhere / named).write_bytes(shipped.read_bytes())
    assert command_config("train", flags)[0].roles.executor.prompt == named
    assert config_files.prompt_file("configs/prompts/none.toml") == "configs/prompts/none.toml"


@pytest.mark.parametrize(
    ("named", "near"),
    [
        ("quikstart", "did you mean quickstart?"), ("configs/qwen3_8.py:x", "did you mean qwen3_8b?"),
        ("elsewhere/quickstart.py", "did you mean quickstart?"), ("zzz", ""),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_the_known_ones_and_the_nearest(named, near, elsewhere, capsys):
    assert cli.main(["train", "--config", named, "--workdir", "runs/a"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and f"{named.partition(':')[0]} does not exist" in printed
    assert ", ".join(NAMES) in printed and near in printed and ("did you mean" in printed) == bool(near)


def test_configs_lists_what_there_is_and_shows_one(elsewhere, capsys):
    assert cli.main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for line, name in zip(lines, NAMES, strict=True):
        said = line.removeprefix(name).strip()
        assert said and (ROOT / "configs" / f"{name}.py").read_text().startswith(f'"""{said}\n')
    assert cli.main(["configs", "--show", "quickstart"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs" / "quickstart.py").read_text()
    assert cli.main(["configs", "--show", "quikstart"]) == 2
    assert "did you mean quickstart?" in capsys.readouterr().err


def test_the_folder_of_an_installed_package_comes_before_a_stray_one_beside_it(tmp_path, monkeypatch):
    installed, stray = tmp_path / "mxjax" / "_configs", tmp_path / "configs"
    monkeypatch.setattr(config_files, "_PACKAGE", tmp_path / "mxjax")
    for folder in (stray, installed):
        folder.mkdir(parents=True)
        (folder / f"{folder.name.strip('_')}_of.py").write_text("")
        assert config_files.shipped_folder() == folder
    assert shipped_configs() == {"configs_of": installed / "configs_of.py"}


def test_the_first_line_is_read_without_running_the_file():
    assert first_line('"""One.\n\nTwo."""\nraise SystemExit') == "One."
    assert first_line("x = 1") == ""


def test_a_missing_file_is_the_users_mistake():
    with pytest.raises(UserError) as caught:
        config_file("nowhere.py")
    assert isinstance(caught.value, FileNotFoundError)


def test_the_version_is_told(capsys):
    from mxjax import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mxjax {__version__}\n"
