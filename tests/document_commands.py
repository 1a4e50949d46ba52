"""The commands of the documents: the parsers that read them, and those that no test can run, each with its reason."""

import contextlib
import functools
import io
import re

import typer
from documents import DOCUMENTS, OURS, commands_of

from lib.apps.cli.main import app

CLI = typer.main.get_command(app)
PLACEHOLDERS = {"P": "laptop", "N": "400", "NAME": "maestro"}
EVERY = [command for path in DOCUMENTS for command in commands_of(path)]
UNIQUE = list({(command.words, command.whole): command for command in EVERY}.values())
NAMED_ALONE = (["until-done"], ["evaluate"], ["listening-test"])  # they want more than their parsers ask for
LAUNCHERS = ("accelerate", "torchrun", "docker", "python")  # what may stand before `-m lib`

# how a command begins (\n: and ends) -> why no test runs it; what is ours in it is read by its parser all the same
NOT_RUN = {
    "apt install": "changes this machine",
    "brew install": "changes a Mac",
    "pip install": "changes this environment; tests/test_front_door.py resolves what is asked for",
    ".venv/bin/pip install": "changes this environment",
    "pre-commit install": "changes this repository",
    "git clone": "needs the network",
    "git fetch": "needs the network",
    "git checkout": "takes this repository to another commit",
    "cd ": "a folder of another machine",
    "source .venv": "a shell's own; the environment may have another name here",
    "bash colab_setup.sh demo": "takes minutes: .ci/run runs it, twice",
    "bash colab_setup.sh install": "makes an environment: it is what `demo` begins with",
    "bash colab_setup.sh test": "these tests",
    "bash colab_setup.sh address": "changes this repository; tests/test_front_door.py runs it on a copy",
    "bash colab_setup.sh colab": "changes this environment; tests/test_front_door.py runs it where pip may not write",
    "python -m pytest": "these tests",
    "rclone ": "needs somebody's Drive; tests/storage/test_backends.py runs rclone on a remote of its own",
    "tail -f": "has no end",
    "tensorboard ": "has no end",
    "sky ": "rents a machine; tests/environments/test_skypilot.py has SkyPilot read the file",
    "docker build": "needs a Docker daemon; tests/environments/test_docker.py runs the Dockerfile's own line",
    "docker stop": "needs a Docker daemon",
    "docker run --rm -v $PWD/outputs:/app/outputs brad-mehldau-ai\n": "is the demo: .ci/run runs it",
    "python -m lib worker": "needs a Redis: tests/apps/server/test_redis.py starts one, and workers",
    "python -m lib serve --released --queue": "needs a Redis: tests/apps/server/test_redis.py starts one, and the server",
    "python tests/benchmarks/codec.py": "takes minutes: tests/test_codec_figures.py runs its parts on few pieces",
    "python tests/benchmarks/style.py": "trains for hours: tests/test_style_figures.py runs its parts",
    "python tests/benchmarks/beats.py": "takes minutes, and recordings that can't be passed on: tests/test_beat_figures.py",
    "python tests/benchmarks/release_judge.py": "wants a run of its own: tests/apps/evaluate/test_reference_classifier.py",
    "python tests/benchmarks/release_style.py": "takes half an hour, and recordings that can't be passed on",
    "python tests/benchmarks/style_grids.py": "needs recordings that cannot be passed on: tests/music/test_time_grid.py",
    "python tests/benchmarks/verification.py": "trains for half an hour, on recordings that can't be passed on",
    "python tests/benchmarks/released_steps.py": "takes minutes: tests/test_documents.py runs it for one of the weights",
    "python tests/benchmarks/pictures.py": "takes minutes: tests/test_documents.py runs it for one picture",
    "python tests/benchmarks/listen_page.py": "takes minutes: tests/test_listen_page.py runs it for one take",
    "python tests/benchmarks/contact_sheet.py": "needs recordings that can't be passed on",
    "python tests/benchmarks/transformers.py": "trains for minutes, on recordings that can't be passed on",
    "python tests/benchmarks/candidates.py": "takes an hour, on recordings that can't be passed on",
    "python tests/benchmarks/generate.py": "takes hours, and recordings that can't be passed on",
    "python tests/benchmarks/in_time.py": "takes half an hour, and recordings that can't be passed on",
    "python tests/benchmarks/nats.py": "takes minutes, and recordings that can't be passed on",
    "python tests/benchmarks/duet.py": "takes minutes in real time, with nothing else on the machine",
    "python tests/benchmarks/serve.py": "takes half an hour, with nothing else on the machine",
    "python tests/benchmarks/same_as.py": "takes minutes: tests/test_same_as.py runs its parts",
    "python tests/benchmarks/size.py": "plays and trains: tests/test_size.py runs it",
    "python tests/benchmarks/drive.py": "takes minutes: tests/test_drive_figures.py runs it for a smaller preset",
    "python tests/benchmarks/notebooks_alone.py": "takes minutes: tests/test_notebooks_run.py runs it for four notebooks",
    "python tests/benchmarks/plan.py": "takes minutes, with nothing else on the machine",
}


# --- Reading them ----------------------------------------------------------------------------------------------


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
        with contextlib.redirect_stdout(io.StringIO()):  # --help
            parse(words, True)
    except Exception:
        return False
    return True


def after_module(words):
    """What follows `-m lib`, or torchrun's `-m -- lib`."""
    return words[words.index("lib") + 1 :]


def ours(command):
    """What follows `python -m lib`, or None; in a sentence those words may be left out."""
    words = command.words
    if words[0] == "python" and words[1:3] == ("-m", "lib"):
        return list(words[3:])
    of_shell = words[0] == "export" and "=" in words[1]
    return list(words) if words[0] in OURS and not command.whole and not of_shell else None


# --- Which of them run -----------------------------------------------------------------------------------------


def why_not(command):
    """The beginnings in NOT_RUN that are this command's: list of str."""
    words = ours(command)
    line = " ".join(("python", "-m", "lib", *words) if words else command.words) + "\n"
    return [start for start in NOT_RUN if line.startswith(start)]


def to_run(command):
    """What of `python -m lib WORDS` a command is, with what a sentence leaves out; None where it is another program's."""
    words = ours(command)
    if words is None and command.words[0] in LAUNCHERS and "lib" in command.words:
        words = list(after_module(command.words))
    if not words:
        return None
    words = [PLACEHOLDERS.get(word, word) for word in words]
    if words[0] in ("generate", "duet", "serve") and not {"--released", "--run", "--help"} & set(words):
        words.append("--released")
    if words == ["identify"]:
        words.append("FILE.mid")
    if words[0] == "duet" and not {"--list", "--input"} & set(words):
        words += ["--input", "KEYBOARD", "--output", "PORT"]
    if words[:2] in (["fl-studio", "install"], ["fl-studio", "uninstall"]):
        words += ["--user-data", "."]
    return words


def is_mention(command):
    """Whether a sentence only names a command: words are missing, or stand for others."""
    if command.whole or (words := to_run(command)) is None:
        return command.words == ("curl", "-N")
    return "..." in words or words in NAMED_ALONE or not is_complete(words)


@functools.cache
def runnable():
    """Lists of words of all commands of ours that run, once each; styles come before who uses them."""
    found = {}
    for command in EVERY:
        if not why_not(command) and not is_mention(command) and (words := to_run(command)):
            found[" ".join(words)] = words
    return sorted(found.values(), key=lambda words: words[0] != "style")


def requests():
    """The commands that ask the server."""
    return [command for command in UNIQUE if command.words[0] == "curl" and not is_mention(command)]


def shell_lines():
    """Lines for the shell itself, as they stand in the documents."""
    return sorted({" ".join(command.words) for command in UNIQUE if command.words[0] in ("export", "echo")})


def names_of_files():
    """MIDI files that commands name."""
    return {word for command in EVERY for word in command.words if re.fullmatch(r"[\w.-]+\.mid", word)}
