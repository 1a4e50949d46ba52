"""docs/listen/index.html: twelve takes by the released weights on one page, in the project's own player.

    python tests/benchmarks/listen_page.py [--out docs/listen/index.html] [--only N]

The page is one file that needs no network: it works when opened from a disk and on any static host. Its charts, tempos,
feels and styles stand in TAKES; each take is the first one, seed 1, so nothing is selected. There are no recordings in
it. Takes last 40 to 60 s; --only plays the first N, for a quick look. On two CPU cores it takes about as long to make as
to hear. `listen_mb`: size of the page (target <= 12). Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints.load import Improviser  # noqa: E402
from lib.config import OWN, REPOSITORY, VERSION, build  # noqa: E402
from lib.display.page import make_page  # noqa: E402
from lib.display.player import music_json, page_of  # noqa: E402
from lib.generation.generate import Solo, generate_many, load_improviser  # noqa: E402
from lib.generation.request import GenerateRequest, Order  # noqa: E402
from lib.music.audio import render_audio  # noqa: E402
from lib.storage.atomic_write import write_text  # noqa: E402

PAGE = ROOT / "docs" / "listen" / "index.html"
TITLE = "Twelve takes by a piano improviser"
PLAYER_SLOTS = ("MUSIC_OF_THIS_PLAYER", "TITLE_OF_THIS_PLAYER")  # listen_page.js fills them
BATCH = 4  # solos that share a batch: each is the same as alone
NOTEBOOK = "notebooks/06_listen.ipynb"
COLAB = f"https://colab.research.google.com/github/{REPOSITORY.removeprefix('https://github.com/')}/blob/{VERSION}/{NOTEBOOK}"

EVANS = "Bill Evans"
TAKES = {  # title -> fields of its request
    "Blues in F": {"chords": "blues in F", "tempo_bpm": 132.0, "feel": "swing", "choruses": 2},
    "Ballad": {
        "chords": "Ebmaj7 | Cm7 | Fm7 | Bb7sus4 Bb7 | Gm7 C7b9 | Fm7 | Abm6 | Bb7 | Ebmaj7 | Am7b5 D7b9 | Gm7 C7 | Fm7 Bb7",
        **{"tempo_bpm": 60.0, "bars": 12, "style": EVANS},
    },
    "Jazz waltz": {
        "chords": "Fmaj7 | Dm7 | Gm7 | C7 | Am7 | D7 | Gm7 | C7",
        **{"tempo_bpm": 150.0, "metre": "3/4", "feel": "swing", "choruses": 5, "style": f"{EVANS}:0.5,Brad Mehldau:0.5"},
    },
    "Vamp": {"chords": "Dm7 | G7sus4", "tempo_bpm": 116.0, "feel": "straight", "vamp": 2, "bars": 24},
    "AABA, medium swing": {
        "chords": "A: Fmaj7 | D7 | Gm7 | C7 | Am7 D7 | Gm7 C7 | F6 D7 | Gm7 C7; "
        "B: Cm7 | F7 | Bbmaj7 | Bb6 | Dm7 | G7 | Gm7 | C7; AABA",
        **{"tempo_bpm": 160.0, "feel": "swing", "choruses": 1},
    },
    "Minor blues": {
        "chords": "minor blues in C",
        **{"tempo_bpm": 120.0, "feel": "swing", "choruses": 2, "style": "Brad Mehldau:0.6,Thelonious Monk:0.4"},
    },
    "Rhythm changes, up-tempo": {"chords": "rhythm changes in Bb", "tempo_bpm": 264.0, "feel": "swing", "bars": 48},
    "AABA in minor": {
        "chords": "A: Cm7 | Fm7 | Dm7b5 | G7b9 | Cm7 | Abmaj7 | Dm7b5 G7b9 | Cm6; "
        "B: Fm7 | Bb7 | Ebmaj7 | Abmaj7 | Dm7b5 | G7b9 | Cm6 | G7; AABA",
        **{"tempo_bpm": 152.0, "feel": "swing", "choruses": 1, "style": EVANS},
    },
    "Straight eighths": {
        "chords": "Dm9 | G13 | Cmaj9 | A7b9 | Dm9 | G13 | Em7 A7 | Dm7 G7",
        **{"tempo_bpm": 130.0, "feel": "straight", "choruses": 3},
    },
    "In seven": {
        "chords": "Am7 | Fmaj7 | Dm7 | E7sus4",
        **{"tempo_bpm": 176.0, "metre": "7/8", "feel": "straight", "choruses": 10},
    },
    "Slow blues in 12/8": {
        "chords": "blues in Bb",
        **{"tempo_bpm": 105.0, "metre": "12/8", "choruses": 1, "style": "Brad Mehldau:0.5,Oscar Peterson:0.5"},
    },
    "Changes of its own": {"chords": OWN, "tempo_bpm": 84.0, "bars": 16},
}


def requests() -> list[GenerateRequest]:
    """Of the takes, in their order."""
    return [build(GenerateRequest, fields) for fields in TAKES.values()]


def play(asked: Sequence[GenerateRequest], improviser: Improviser) -> list[Solo]:
    """The solos, in batches."""
    solos = []
    for first in range(0, len(asked), BATCH):
        solos += generate_many(improviser, [Order(request) for request in asked[first : first + BATCH]])
    return solos


def describe_take(request: GenerateRequest) -> str:
    """Metre, feel, tempo and style, in words."""
    feel = {"swing": ["swing"], "straight": ["straight eighths"], "free": []}[request.feel]
    style = (request.style or "Brad Mehldau").split(",")
    shares = [part.rpartition(":")[::2] for part in style]
    names = [f"{100 * float(share):.0f} % {name}" for name, share in shares] if len(style) > 1 else style
    return ", ".join([request.metre, *feel, f"\N{QUARTER NOTE} = {request.tempo_bpm:.0f}", f"after {' and '.join(names)}"])


def format_page(solos: Sequence[Solo]) -> str:
    """The page of the first takes, as many as there are solos."""
    takes, music = [], []
    for title, asked, solo in zip(TAKES, requests(), solos):
        about, seconds, chart = describe_take(asked), round(solo.length_s), solo.request.chords
        takes.append({"title": title, "about": about, "seconds": seconds, "chart": chart})
        take = solo.notes, render_audio(solo.notes), solo.chords, solo.tempo_map
        music.append(music_json({title: take}, title))
    player, links = page_of(*PLAYER_SLOTS), {"repository": REPOSITORY, "colab": COLAB}
    return make_page(Path(__file__).parent, "listen_page", TITLE, takes=takes, music=music, player=player, **links)


def main():
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--only", type=int, default=len(TAKES), metavar="N", help="the first N takes alone")
    words = parser.parse_args()
    began_s = time.monotonic()
    solos = play(requests()[: words.only], load_improviser(released=True, device="cpu"))
    page = format_page(solos)
    words.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(words.out, page)
    lengths = {"takes": len(solos), "lengths_s": [round(solo.length_s, 1) for solo in solos]}
    figures = {"listen_mb": round(len(page.encode()) / 1e6, 2), **lengths, "made_s": round(time.monotonic() - began_s)}
    print(json.dumps({"benchmark": "listen_page", **figures}))


if __name__ == "__main__":
    main()
