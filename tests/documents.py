"""What the documents say: their commands, links, headings and snippets of Python, read from the Markdown."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md", *ROOT.glob("docs/*.md"),
                    *ROOT.glob("data/released/*.md")])  # fmt: skip
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
STARTS = ("python", "bash", "pip", "accelerate", "torchrun", "curl", "docker", "tensorboard", "pre-commit", "sky", "pytest",
          "hf", "uvicorn")  # fmt: skip
# what is set in code within a sentence and begins with one of these is our command line without its beginning
OURS = ("train", "generate", "data", "style", "identify", "reconstruct", "serve", "duet", "headless", "evaluate", "compare",
        "export", "plan", "fl-studio", "until-done", "listening-test")  # fmt: skip
INDENTED = re.compile(r"^ {4}(?=(?:python|pip|bash) )(.*)$", re.MULTILINE)
REDIRECTION = re.compile(r"(?<=\s)\d?(?:>&\d|>{1,2}&?\s*\S+|<\s*\S+)")
SCRIPT = re.compile(r"^\s*(?:while|for|if)\b", re.MULTILINE)  # no list of commands: tests/environments runs those that there are
SETTING = re.compile(r"^[A-Z_]+=\S*$")


@dataclass(frozen=True)
class Command:
    """One command of a document.

    Attributes
    ----------
    document : path within the project
    words : what is typed, without settings of the environment before it, redirections and comments
    whole : False where a sentence only mentions it, perhaps without all that it needs
    """

    document: str
    words: tuple
    whole: bool = True

    def __str__(self):
        return f"{self.document}: {shlex.join(self.words)}"


@cache
def text_of(path):
    """A document's text; comments for readers of the source alone left out."""
    return re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def prose_of(path):
    """The text without what is set as code."""
    return SPAN.sub("", without_blocks(path))


def without_blocks(path):
    """The text without blocks of code."""
    return INDENTED.sub("", FENCE.sub("", text_of(path)))


def blocks_of(path, language):
    """The blocks of code of a language: list of str."""
    return [body for found, body in FENCE.findall(text_of(path)) if found == language]


def commands_of(path):
    """Every command of a document, in its order within blocks, then those mentioned in sentences."""
    name, text = path.relative_to(ROOT).as_posix(), text_of(path)
    blocks = [block for block in blocks_of(path, "bash") if not SCRIPT.search(block)]
    blocks.append("\n".join(INDENTED.findall(FENCE.sub("", text))))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    whole = [Command(name, words) for line in lines for words in simple_commands(line)]
    spans = [" ".join(span.split()) for span in SPAN.findall(without_blocks(path))]
    mentioned = [Command(name, words, False) for span in spans if is_command(span) for words in simple_commands(span)]
    return whole + mentioned


def is_command(span):
    """Whether a span of code within a sentence is something to type."""
    words = span.lstrip("!").split()
    while words and SETTING.match(words[0]):
        words = words[1:]
    if not words or "/" in words[0] or span.endswith(":"):
        return False
    return words[0] in STARTS and len(words) > 1 or words[0] in OURS and len(words) > 1


def simple_commands(line):
    """The commands of a line of shell, as tuples of words."""
    if "$(" in line:  # another command's output: not taken apart
        return [tuple(line.split())]
    lexer = shlex.shlex(REDIRECTION.sub("", line), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, commands, words = True, [], []
    for token in [*lexer, ";"]:
        if set(token) <= set(";|&"):
            while words and SETTING.match(words[0]):
                words = words[1:]
            words = words[1:] if words[:1] == ["nohup"] else words
            commands, words = commands + [tuple(words)] if words else commands, []
        else:
            words.append(token.lstrip("!") if not words else token)
    return commands


# --- Links -----------------------------------------------------------------------------------------------------

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]*(?:\([^()]*\))?[^()\s]*)\)")
INNER = re.compile(r"\[!\[[^\]]*\]\(([^()\s]+)\)\]")  # a badge: a picture that is a link
TAGGED = re.compile(r"(?:src|href)=\"([^\"]+)\"")
BARE = re.compile(r"https?://[^\s<>)\]\"'`]+")


def links_of(path):
    """Every address that a document links to or shows."""
    text = prose_of(path)
    found = [*LINK.findall(text), *INNER.findall(text), *TAGGED.findall(text)]
    return sorted({address for address in found if address} | {bare.rstrip(".,;:") for bare in BARE.findall(text)})


@cache
def anchors_of(path):
    """The names under which GitHub lets one jump to a document's headings."""
    found, seen = set(), {}
    for heading in re.findall(r"^#{1,6} +(.+?)\s*#*$", FENCE.sub("", text_of(path)), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{number}" if number else name)
    return found
