"""The documents keep what they promise: every command is known and the cheap ones run, every link leads somewhere."""

import ast
import contextlib
import io
import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pytest
import typer
from documents import DOCUMENTS, OURS, ROOT, anchors_of, blocks_of, commands_of, links_of, prose_of, text_of
from tiny import save_tiny_improviser

from lib import config
from lib.__main__ import app, main
from lib.data.notes import Notes, read_midi, write_midi

CLI = typer.main.get_command(app)
# commands and options whose branches are not in yet: skipped, saying so, until they are there
COMING = {("plan",), ("doctor",), ("evaluate",), ("compare",), ("listening-test",), ("export",), ("generate", "--count"),
          ("headless", "--sweep")}  # fmt: skip
COMING_PAGES = {"docs/DOCKER.md", "notebooks/07_evaluate.ipynb"}
# other people's programs: only that they are called by a name that exists
OTHERS = {"brew", "sudo", "apt", "docker", "rclone", "export", "echo", "tail", "cd", "source", "tensorboard", "pre-commit", "sky",
          "hf", "git"}  # fmt: skip
PLACEHOLDERS = {"P": "laptop", "N": "400", "LR": "1e-4"}
EVERY = [command for path in DOCUMENTS for command in commands_of(path)]
UNIQUE = list({(command.words, command.whole): command for command in EVERY}.values())


class Parsed(Exception):
    """A script has read its words: it need not go on."""


# --- Commands --------------------------------------------------------------------------------------------------


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
        if kind == "NoSuchOption":
            skip_if_coming([names[0], error.option_name])
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
            skip_if_coming(names)
            raise LookupError(f"there is no command {' '.join(names)}")
        command = command.commands[names[-1]]
    return names, command, words


def is_complete(words):
    """Whether nothing is missing from a command that a sentence mentions."""
    try:
        parse(words, True)
    except (pytest.skip.Exception, Exception):
        return False
    return True


def skip_if_coming(names):
    if tuple(names[:2]) in COMING or tuple(names[:1]) in COMING:
        pytest.skip(f"{' '.join(names)} is not in yet")


def after_module(words):
    """What follows `-m lib`."""
    return words[words.index("-m") + 2 :]


def check_python(words, whole):
    if "-c" in words:
        ast.parse(words[-1])
    elif words[1:3] == ("-m", "lib"):
        parse(after_module(words), whole)
    elif words[1] == "-m":
        assert words[2] in ("pytest", "venv"), words
    else:
        parse_script(words[1:])


def parse_script(words):
    """A script under tests/benchmarks reads its own words, and then stops."""
    import argparse

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
    assert words[1:3] == ("install", "-r") and (ROOT / words[3]).is_file()


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


def routes():
    """The server's addresses."""
    app_of = pytest.importorskip("lib.serve.app")
    limits = SimpleNamespace(streams=1)
    return [route.path for route in app_of.make_app(SimpleNamespace(limits=limits, metrics=None)).routes]


CHECKS = {"python": check_python, "bash": check_bash, "pip": check_pip, "accelerate": check_launch, "torchrun": check_launch,
          "curl": check_curl, "pytest": lambda words, whole: None,
          **dict.fromkeys(OTHERS, lambda words, whole: None),
          **dict.fromkeys(OURS, lambda words, whole: parse(words, False))}  # fmt: skip


@pytest.mark.parametrize("command", UNIQUE, ids=str)
def test_every_command_is_read_by_the_parser_that_it_is_for(command):
    assert command.words[0] in CHECKS, f"no way to check {command}"
    CHECKS[command.words[0]](command.words, command.whole)


def test_a_wrong_command_is_found_out():
    for words in (["trian", "vqvae"], ["generate", "--releasd"], ["train"], ["data", "ingets"], ["train", "vqvae", "--steps", "few"]):
        assert not is_complete(words), words
    assert is_complete(["train", "vqvae", "--steps", "4"])
    with pytest.raises(SystemExit):
        parse_script(("tests/benchmarks/pictures.py", "--onyl", "solo"))
    with pytest.raises(FileNotFoundError):
        parse_script(("tests/benchmarks/picture.py",))


def test_every_option_in_a_sentence_exists():
    """`--option` set as code, alone or with a value: of our command line, of a benchmark, or of colab_setup.sh."""
    ours = {name for command in leaves(CLI) for parameter in command.params for name in parameter.opts} | {"--help"}
    sources = [*ROOT.glob("tests/benchmarks/*.py"), ROOT / "colab_setup.sh"]
    ours |= {name for path in sources for name in re.findall(r"--[a-z][a-z-]+", path.read_text(encoding="utf-8"))}
    coming = {option for _, *options in COMING for option in options}
    for path in DOCUMENTS:
        spans = re.findall(r"`(--[a-z][a-z-]*)", text_of(path))
        assert not set(spans) - ours - coming, path


def leaves(command):
    """The commands of a group, and of its groups."""
    if not hasattr(command, "commands"):
        return [command]
    return [leaf for one in command.commands.values() for leaf in leaves(one)]


# --- Commands that run -----------------------------------------------------------------------------------------

SHORT = {"generate": ["--seconds", "1", "--num-steps", "1", "--device", "cpu"]}
RUN = {"generate", "identify", "reconstruct", "style", "fl-studio", "runs", "train", "until-done", "headless", "serve", "duet"}
MADE_UP = ("FOLDER", "DIR", "MINE")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that documents speak of, and what takes long or needs hardware put aside.

    Networks are those of an untrained improviser; training, notebooks, server and MIDI ports are reached, and not begun.
    """
    from lib import generate, headless
    from lib.training import loop

    folder = tmp_path_factory.mktemp("workplace")
    tiny = generate.load_improviser(save_tiny_improviser(folder / "tiny"), device="cpu")
    make_files(folder)
    for run in ("vqvae", "brad_final"):
        (folder / "runs" / run).symlink_to(folder / "tiny", target_is_directory=True)
    done = SimpleNamespace(message="", finished=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(generate, "load_improviser", lambda *words, **named: tiny_with_styles(tiny, words, named))
        patch.setattr(loop, "train", lambda *words, **named: done)
        patch.setattr(headless, "run", lambda *words, **named: [])
        yield folder


def tiny_with_styles(tiny, words, named):
    """The tiny improviser, which knows the styles that were added meanwhile."""
    import dataclasses

    from lib.styles import with_own

    styles_dir = named.get("styles_dir") or (words[3] if len(words) > 3 else None)
    return dataclasses.replace(tiny, styles=with_own(tiny.styles, tiny.style_encoder, styles_dir)) if styles_dir else tiny


def make_files(folder):
    """MIDI under every name that a command reads or writes, folders, and a chart."""
    time_s = np.arange(0, 32, 0.25)
    notes = Notes.from_arrays(time_s, np.full(len(time_s), 0.2), (60 + np.arange(len(time_s)) % 12), np.full(len(time_s), 70))
    names = {word for command in EVERY for word in command.words if re.fullmatch(r"[\w.-]+\.mid", word)}
    for name in names | {f"{place}/ALBUM/TITLE {number}.mid" for place in MADE_UP for number in (1, 2)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_midi(notes, folder / name)
    for place in ("runs", "Settings"):  # the latter is what tells FL Studio's folder
        (folder / place).mkdir()
    for name in ("FILE", "mine.html"):
        (folder / name).write_text("irealb://" + quote("Alone Together=Me=Waltz=C==1r34LbKcu7[T34C^7 |A-7 |D-7 |G7 Z==90=0"))


def ours(command):
    """What follows `python -m lib`, or None."""
    words = command.words
    if words[0] == "python" and "-m" in words and words[words.index("-m") + 1] == "lib":
        words = after_module(words)
    elif words[0] not in OURS or not command.whole and words[0] == "data":
        return None
    return [PLACEHOLDERS.get(word, word) for word in words]


RUNNABLE = {" ".join(words): words for words in map(ours, EVERY)
            if words and words[0] in {"generate", "reconstruct", "fl-studio", "runs", "train", "headless", "style"}
            and not {"...", "--help"} & set(words) and is_complete(words)}  # fmt: skip


@pytest.mark.parametrize("words", sorted(RUNNABLE.values(), key=lambda words: words[0] != "style"), ids=" ".join)
def test_what_is_cheap_runs(words, workplace):
    """Solos of a second by an untrained network, trainings up to where they would begin."""
    if {"--count", "--sweep"} & set(words):
        skip_if_coming([words[0], "--count" if "--count" in words else "--sweep"])
    if words[0] == "generate" and not {"--released", "--run"} & set(words):
        words = [*words, "--released"]
    if words[0] == "fl-studio":
        words = [*words, *(["--user-data", "."] if words[1] in ("install", "uninstall") else [])]
        if words[1] != "uninstall" and not [word for word in words if word.endswith(".mid")]:
            words = [*words[:2], "solo-1.mid", *words[2:]]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", ["python -m lib", *words, *SHORT.get(words[0], [])])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    assert code == 0, said.getvalue()


# --- Links -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path):
    """A file, and a heading in it; outside the project only the form is checked."""
    for address in links_of(path):
        split = urlsplit(address)
        if split.scheme:
            here = split.hostname in ("127.0.0.1", "localhost", "studio.example")
            assert split.scheme == "https" and "." in split.hostname or here, address
            continue
        target = (path.parent / unquote(split.path)).resolve() if split.path else path
        assert target.is_relative_to(ROOT), address
        assert target.exists() or target.relative_to(ROOT).as_posix() in COMING_PAGES, address
        if split.fragment and target.suffix == ".md":
            assert unquote(split.fragment) in anchors_of(target), address


def test_every_document_is_reached_from_the_readme():
    seen, to_read = set(), [ROOT / "README.md"]
    while to_read:
        path = to_read.pop()
        if path in seen or path.suffix != ".md" or not path.exists():
            continue
        seen.add(path)
        to_read += [(path.parent / urlsplit(address).path).resolve() for address in links_of(path) if not urlsplit(address).scheme]
    assert not set(DOCUMENTS) - seen


def test_links_and_anchors_are_read_as_github_does(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One, two: `three`\n## 한국어 제목\n## Same\n## Same\n"
                    "[a](b.md#c) [![x](p.png)](https://x.example/y) `[no](no.md)` <img src=\"q.png\">\n"
                    "```bash\n[no](either.md)\n```\n")  # fmt: skip
    assert anchors_of(page) == {"one-two-three", "한국어-제목", "same", "same-1"}
    assert set(links_of(page)) == {"b.md#c", "p.png", "q.png", "https://x.example/y"}


# --- What belongs together -------------------------------------------------------------------------------------

TWINS = {"README.md": "docs/README.ko.md", "docs/TRAINING_GUIDE.md": "docs/TRAINING_GUIDE.ko.md"}


@pytest.mark.parametrize("english", TWINS)
def test_korean_and_english_have_the_same_commands_and_parts(english):
    one, other = ROOT / english, ROOT / TWINS[english]
    typed = [[command.words for command in commands_of(path) if command.whole] for path in (one, other)]
    assert typed[0] == typed[1]
    parts = [len(re.findall(r"^## ", text_of(path), re.MULTILINE)) for path in (one, other)]
    assert parts[0] == parts[1]
    for path, twin in ((one, other), (other, one)):
        assert any((path.parent / link).resolve() == twin for link in links_of(path))
    hangul = len(re.findall(r"[가-힣]", prose_of(other)))
    assert hangul > 0.3 * len(re.findall(r"\w", prose_of(other)))


def test_the_readme_begins_with_the_two_commands():
    blocks = blocks_of(ROOT / "README.md", "bash")
    assert blocks[:2] == ["bash colab_setup.sh demo\n", "bash colab_setup.sh test\n"]
    assert text_of(ROOT / "README.md").startswith("```bash\nbash colab_setup.sh demo\n")


def test_versions_and_names_agree():
    project = re.search(r'^version = "(.+)"', text_of(ROOT / "pyproject.toml"), re.MULTILINE).group(1)
    citation = text_of(ROOT / "CITATION.cff")
    assert re.search(rf"^version: {re.escape(project)}$", citation, re.MULTILINE)
    assert re.search(r"^## \[?([\d.]+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE).group(1) == project
    assert f"repository-code: {config.REPOSITORY}" in citation
    licence = text_of(ROOT / "LICENSE")
    assert licence.startswith("MIT License") and "The Brad Mehldau AI authors" in licence


def test_results_say_what_the_cards_say():
    """A figure of three decimals in the results stands in a card, where the command that gave it is named."""
    cards = " ".join(text_of(path) for path in ROOT.glob("data/released/*.md"))
    figures = set(re.findall(r"\b\d\.\d{3,}\b", text_of(ROOT / "docs" / "RESULTS.md")))
    assert len(figures) > 20 and not {figure for figure in figures if figure not in cards}


def test_pictures_are_small():
    for path in (ROOT / "docs" / "pictures").glob("*"):
        assert path.stat().st_size < 200_000, path


def test_python_in_the_documents_runs(workplace):
    """Snippets are tried one after the other, a document at a time."""
    notes = read_midi(workplace / "solo.mid")
    for path in DOCUMENTS:
        names = {"notes": notes}
        for block in blocks_of(path, "python"):
            exec(compile(block, path.name, "exec"), names)


def test_settings_in_the_notebook_form_of_the_command_line_are_json_free():
    """The server's bodies in the documents are JSON that a request understands."""
    bodies = [word for command in EVERY for word in command.words if command.words[0] == "curl" and word.startswith("{")]
    messages = pytest.importorskip("lib.serve.messages")
    assert bodies and all(isinstance(json.loads(body), dict) for body in bodies) and messages


def test_documents_name_no_place_of_a_machine():
    for path in DOCUMENTS:
        assert not re.findall(r"/(?:home|Users|root|work|tmp)/(?!YOU)\w+", text_of(path)), path


def test_nothing_is_promised_twice():
    assert len({path.name for path in DOCUMENTS if path.parent == ROOT / "docs"}) == len(list(Path(ROOT / "docs").glob("*.md")))
