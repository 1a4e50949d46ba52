"""Every command of the documents is read by the parser that it is for, and the cheap ones run."""

import argparse
import ast
import contextlib
import dataclasses
import io
import json
import re
import runpy
import sys
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import typer
from documents import DOCUMENTS, OURS, ROOT, blocks_of, commands_of, text_of
from packaging.requirements import Requirement
from tiny import save_tiny_improviser

from lib import config
from lib.__main__ import app, main
from lib.data.notes import Notes, read_midi, write_midi

CLI = typer.main.get_command(app)
# other people's programs: only that they are called by a name that exists
OTHERS = ("brew", "sudo", "apt", "docker", "rclone", "export", "echo", "tail", "cd", "source", "tensorboard", "pre-commit", "hf",
          "git", "pytest")  # fmt: skip
PLACEHOLDERS = {"P": "laptop", "N": "400"}
EVERY = [command for path in DOCUMENTS for command in commands_of(path)]
UNIQUE = list({(command.words, command.whole): command for command in EVERY}.values())


class Parsed(Exception):
    """A script has read its words: it need not go on."""


# --- Commands are read -----------------------------------------------------------------------------------------


def parse(words, whole):
    """Let the real parser read our command line; it raises what is wrong."""
    words = [PLACEHOLDERS.get(word, word) for word in words if word != "..."]
    if not words or words[0] == "COMMAND":
        return
    names, command, words = find_command(words)
    if hasattr(command, "commands"):  # a group, named alone
        assert not whole or "--help" in words
        return
    try:
        context = command.make_context(" ".join(names), list(words))
    except Exception as error:  # click's or, in later versions, typer's own
        kind = type(error).__name__
        if not (kind == "MissingParameter" and not whole or kind == "Exit" and "--help" in words):
            raise
    else:
        if names == ["until-done"] and context.args:
            parse(context.args, whole)


def find_command(words):
    """(names, command, what is left of the words), down through groups."""
    command, names, words = CLI, [], list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        names.append(words.pop(0))
        if names[-1] not in command.commands:
            raise LookupError(f"there is no command {' '.join(names)}")
        command = command.commands[names[-1]]
    return names, command, words


def is_complete(words):
    """Whether nothing is missing from a command that a sentence mentions."""
    try:
        parse(words, True)
    except Exception:
        return False
    return True


def after_module(words):
    """What follows `-m lib`."""
    return words[words.index("-m") + 2 :]


def check_python(words, whole):
    if "-c" in words:
        ast.parse(words[-1])
    elif words[1] == "-m":
        assert words[2] in ("pytest", "venv"), words
    else:
        parse_script(words[1:])


def parse_script(words):
    """A script under tests/benchmarks reads its own words, and then stops."""
    read = argparse.ArgumentParser.parse_args

    def stop(parser, *_):
        read(parser, [word for word in words[1:] if word != "..."])
        raise Parsed

    path = (ROOT / words[0]).resolve(strict=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed), contextlib.redirect_stderr(io.StringIO()):
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", list(words))
        patch.setattr(sys, "path", [str(path.parent), *sys.path])
        runpy.run_path(str(path), run_name="__main__")


def check_bash(words, whole):
    assert words[1] == "colab_setup.sh" and re.search(rf"^    {words[2]}\)", text_of(ROOT / "colab_setup.sh"), re.MULTILINE)
    if words[2] == "demo":
        rest = list(words[3:])
        if "--soundfont" in rest:  # the script's own
            del rest[rest.index("--soundfont") : rest.index("--soundfont") + 2]
        parse(["headless", *rest], whole)


def check_pip(words, whole):
    assert words[1] == "install"
    if words[2] == "-r":
        assert (ROOT / words[3]).is_file()
    else:
        Requirement(words[2])


def check_launch(words, whole):
    """accelerate launch, torchrun: our part of it."""
    assert words[0] == "torchrun" or words[1] == "launch"
    parse(after_module(words), whole)


def check_curl(words, whole):
    addresses = [word for word in words if word.startswith("http")]
    for address in addresses:
        place = urlsplit(address).path
        assert any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), place) for route in routes()), place
    assert addresses or not whole
    for body in (word for word in words if word.startswith("{")):
        config.build(pytest.importorskip("lib.serve.orders").SoloOrder, json.loads(body))


def routes():
    """The server's addresses."""
    app_of = pytest.importorskip("lib.serve.app")
    limits = SimpleNamespace(streams=1)
    return [route.path for route in app_of.make_app(SimpleNamespace(limits=limits, metrics=None)).routes]


def check_sky(words, whole):
    (task,) = (word for word in words if word.endswith(".yaml"))
    assert (ROOT / task).is_file(), task


CHECKS = {"python": check_python, "python3.12": check_python, "bash": check_bash, "pip": check_pip, ".venv/bin/pip": check_pip,
          "accelerate": check_launch, "torchrun": check_launch, "curl": check_curl, "sky": check_sky,
          **dict.fromkeys(OTHERS, lambda words, whole: None)}  # fmt: skip


def ours(command):
    """What follows `python -m lib`, or None; in a sentence those words may be left out."""
    words = command.words
    if words[0] == "python" and words[1:3] == ("-m", "lib"):
        return list(words[3:])
    return list(words) if words[0] in OURS and not command.whole else None


@pytest.mark.parametrize("command", UNIQUE, ids=str)
def test_every_command_is_read_by_the_parser_that_it_is_for(command):
    if words := ours(command):
        return parse(words, command.whole)
    assert command.words[0] in CHECKS, f"no way to check {command}"
    CHECKS[command.words[0]](command.words, command.whole)


def test_a_wrong_command_is_found_out():
    for line in ("trian vqvae", "generate --releasd", "train", "data ingets", "train vqvae --steps few"):
        assert not is_complete(line.split()), line
    assert is_complete(["train", "vqvae", "--steps", "4"])
    with pytest.raises(SystemExit):
        parse_script(("tests/benchmarks/pictures.py", "--onyl", "solo"))
    with pytest.raises(FileNotFoundError):
        parse_script(("tests/benchmarks/picture.py",))


def test_every_option_in_a_sentence_exists():
    """`--option` set as code, alone or with a value: of our command line, a benchmark, colab_setup.sh or docker."""
    ours = {name for command in leaves(CLI) for parameter in command.params for name in parameter.opts}
    ours |= {"--help", "--user", "--build-arg"}  # every command's; docker's
    sources = [*ROOT.glob("tests/benchmarks/*.py"), ROOT / "colab_setup.sh"]
    ours |= {name for path in sources for name in re.findall(r"--[a-z][a-z-]+", path.read_text(encoding="utf-8"))}
    for path in DOCUMENTS:
        spans = re.findall(r"`(--[a-z][a-z-]*)", text_of(path))
        assert set(spans) <= ours, (path, set(spans) - ours)


def leaves(command):
    """The commands of a group, and of its groups."""
    if not hasattr(command, "commands"):
        return [command]
    return [leaf for one in command.commands.values() for leaf in leaves(one)]


# --- Commands run ----------------------------------------------------------------------------------------------

RUN = ("generate", "identify", "reconstruct", "style", "fl-studio", "runs", "train", "until-done", "headless", "serve", "duet")
SHORT = {"generate": ["--seconds", "1", "--num-steps", "1", "--device", "cpu"], "identify": ["--device", "cpu"]}
FOLDERS = ("FOLDER", "DIR", "MINE")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that documents speak of; what takes long or needs hardware is reached, and not begun.

    Networks are those of an untrained improviser, solos in snippets of Python last a second.
    """
    from lib import generate, headless, until_done
    from lib.serve import live_midi, ports
    from lib.training import loop

    folder = tmp_path_factory.mktemp("workplace")
    tiny = generate.load_improviser(save_tiny_improviser(folder / "tiny"), device="cpu")
    make_files(folder)
    play = generate.generate
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(config, "GUIDED_CANDIDATES", 2)
        patch.setattr(generate, "load_improviser", lambda *words, **named: tiny_with_styles(tiny, words, named))
        patch.setattr(generate, "generate", lambda who, asked, *more, **named: play(who, short(asked), *more, **named))
        patch.setattr(loop, "train", lambda *words, **named: SimpleNamespace(message="", finished=True))
        patch.setattr(headless, "run", lambda *words, **named: [])
        patch.setattr(until_done, "run_until_done", lambda words: 0)
        patch.setattr(ports, "list_ports", lambda: ([], []))
        patch.setattr(live_midi, "play_duet", lambda *words, **named: None)
        without_server(patch)
        yield folder


def without_server(patch):
    """Where the server's packages are installed: nothing listens."""
    with contextlib.suppress(ImportError):
        import uvicorn

        from lib.serve import app as served
        from lib.serve import studio

        patch.setattr(studio, "Studio", lambda *words, **named: None)
        patch.setattr(served, "make_app", lambda *words: None)
        patch.setattr(uvicorn, "run", lambda *words, **named: None)


def short(request):
    """The same wish, soon fulfilled."""
    return dataclasses.replace(request, seconds=1.0, num_steps=1)


def tiny_with_styles(tiny, words, named):
    """The tiny improviser, which knows the styles that were added meanwhile."""
    from lib.styles import with_own

    styles_dir = named.get("styles_dir") or (words[3] if len(words) > 3 else None)
    return dataclasses.replace(tiny, styles=with_own(tiny.styles, tiny.style_encoder, styles_dir)) if styles_dir else tiny


def make_files(folder):
    """MIDI under every name that a command reads or writes, folders of it, a chart, two finished runs."""
    time_s = np.arange(0, 32, 0.25)
    notes = Notes.from_arrays(time_s, np.full(len(time_s), 0.2), 60 + np.arange(len(time_s)) % 12, np.full(len(time_s), 70))
    names = {word for command in EVERY for word in command.words if re.fullmatch(r"[\w.-]+\.mid", word)}
    for name in names | {f"{place}/ALBUM/TITLE {number}.mid" for place in FOLDERS for number in (1, 2)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_midi(notes, folder / name)
    for name in ("FILE", "mine.html"):
        (folder / name).write_text("irealb://" + quote("Alone Together=Me=Waltz=C==1r34LbKcu7[T34C^7 |A-7 |D-7 |G7 Z==90=0"))
    for place in ("runs", "Settings"):  # the latter is what tells FL Studio's folder
        (folder / place).mkdir()
    for run in ("vqvae", "brad_final"):
        (folder / "runs" / run).symlink_to(folder / "tiny", target_is_directory=True)


def runnable():
    """Every command of ours that can run here, with what a sentence leaves out, once each; styles before who uses them."""
    found = {}
    for words in filter(None, map(ours, EVERY)):
        words = [PLACEHOLDERS.get(word, word) for word in words]
        if words[0] not in RUN or {"...", "--help", "--count", "--sweep"} & set(words):
            continue
        if words[0] in ("generate", "duet", "serve") and not {"--released", "--run"} & set(words):
            words.append("--released")
        if words == ["identify"]:
            words.append("FILE.mid")
        if words[0] == "duet" and not {"--list", "--input"} & set(words):
            words += ["--input", "KEYBOARD", "--output", "PORT"]
        if words[:2] in (["fl-studio", "install"], ["fl-studio", "uninstall"]):
            words += ["--user-data", "."]
        if is_complete(words):
            found[" ".join(words)] = words
    return sorted(found.values(), key=lambda words: words[0] != "style")


@pytest.mark.parametrize("words", runnable(), ids=" ".join)
def test_what_is_cheap_runs(words, workplace):
    """Solos of a second by an untrained network; trainings, servers and notebooks up to where they would begin."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        if "--host" in words:
            patch.setenv("LIB_SERVE_TOKEN", "a" * 32)
        patch.setattr(sys, "argv", ["python -m lib", *words, *SHORT.get(words[0], [])])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    assert code == 0, said.getvalue()


def test_python_in_the_documents_runs(workplace):
    """A document's snippets, one after the other."""
    notes = read_midi(workplace / "solo.mid")
    for path in DOCUMENTS:
        names = {"notes": notes}
        for block in blocks_of(path, "python"):
            exec(compile(block, path.name, "exec"), names)
