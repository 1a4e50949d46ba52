"""Every command of the documents is read by the parser that it is for, and is run by a test or listed with the reason why not."""

import argparse
import ast
import contextlib
import io
import json
import re
import runpy
import sys
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from document_commands import (
    CLI,
    NOT_RUN,
    UNIQUE,
    after_module,
    find_command,
    is_complete,
    is_mention,
    ours,
    parse,
    requests,
    runnable,
    shell_lines,
    to_run,
    why_not,
)
from documents import DOCUMENTS, ROOT, text_of
from packaging.requirements import Requirement

from lib import config

# other people's programs: only that they are called by a name that exists
OTHERS = ("brew", "sudo", "apt", "docker", "rclone", "export", "echo", "tail", "cd", "source", "tensorboard", "pre-commit", "hf",
          "git", "pytest")  # fmt: skip


class Parsed(Exception):
    """A script has read its words: it need not go on."""


# --- Commands are read -----------------------------------------------------------------------------------------


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
        pytest.importorskip("starlette")
        from lib.apps.server.schemas import SoloOrder

        config.build(SoloOrder, json.loads(body))


def routes():
    """The server's addresses."""
    pytest.importorskip("fastapi")
    from lib.apps.server.app import make_app

    limits, metrics = SimpleNamespace(streams=1), SimpleNamespace(answers=None)
    return ["/", *make_app(SimpleNamespace(limits=limits, metrics=metrics)).openapi()["paths"]]


def check_sky(words, whole):
    (task,) = (word for word in words if word.endswith(".yaml"))
    assert (ROOT / task).is_file(), task


CHECKS = {"python": check_python, "python3.12": check_python, "bash": check_bash, "pip": check_pip, ".venv/bin/pip": check_pip,
          "accelerate": check_launch, "torchrun": check_launch, "curl": check_curl, "sky": check_sky,
          **dict.fromkeys(OTHERS, lambda words, whole: None)}  # fmt: skip


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


# --- And run ---------------------------------------------------------------------------------------------------


def is_run(command):
    """Whether tests/test_document_commands_run.py or its slow twin runs it."""
    line = " ".join(command.words)
    made = command.words[1:3] == ("-m", "venv")
    return to_run(command) in runnable() or command in requests() or line in shell_lines() or made


@pytest.mark.parametrize("command", UNIQUE, ids=str)
def test_every_command_is_run_or_it_is_said_why_not(command):
    found = [is_run(command), bool(why_not(command)), is_mention(command)]
    assert sum(found) == 1 and len(why_not(command)) <= 1, found


def test_a_command_that_is_only_mentioned_is_run_elsewhere():
    names = [find_command(words)[0] for words in runnable()]
    for command in filter(is_mention, UNIQUE):
        assert command.words[0] == "curl" and requests() or find_command(to_run(command))[0] in names, command


def test_the_list_of_what_is_not_run_has_nothing_superfluous_and_names_tests_that_exist():
    starts = [start for command in UNIQUE for start in why_not(command)]
    assert set(starts) == set(NOT_RUN)
    for start, reason in NOT_RUN.items():
        for path in re.findall(r"(?:tests/|\.ci/)[\w/.]+\w", reason):
            assert (ROOT / path).is_file(), path
        for script in re.findall(r"tests/benchmarks/\w+\.py", start):
            named = re.findall(r"tests/test_\w+\.py", reason)
            assert all(script.split("/")[-1].removesuffix(".py") in text_of(ROOT / path) for path in named), reason
