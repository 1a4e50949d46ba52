"""The players of the demo corpus: six people who never lived, each with habits that statistics can tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Player:
    """Habits of one pianist. Pitches are MIDI numbers, lengths beats unless said otherwise; shares are in [0, 1]."""

    name: str
    albums: tuple[str, str, str]
    left_hand: str  # shells, rootless, stride, quartal, block or counter
    comping: tuple[str, ...]  # rhythms of the left hand, see demo_left_hand.COMPING
    register: int  # where the right hand's line turns around
    span: int  # semitones it wanders to either side
    grain: tuple[float, float, float, float]  # weights of 1, 2, 3, 4 notes a beat
    reach: float  # semitones from one beat's target to the next, typical
    chromatic: float  # share of beats approached by semitone
    motif: float  # share of beats that repeat the phrase's cell on the new chord
    phrase: tuple[float, float]  # shortest and longest line
    rest: tuple[float, float]  # shortest and longest breath
    doubling: tuple[int, float]  # semitones below the line, and how often
    swing: float  # where the off-beat eighth falls in the beat: 0.5 straight, 0.67 triplet
    legato: float  # share of its slot that a note of the line is held
    loudness: float  # mean velocity of the line
    spread: float  # of velocity, from note to note
    accent: float  # velocity added on off-beats
    left_loudness: float  # velocity of the left hand relative to the line
    rubato: float  # relative drift of the tempo
    lag_s: float  # seconds the line lies behind (or before) the beat
    pedal: str  # dry, touches or legato
    pace: float  # tempo relative to the tune's


PLAYERS_BY_HABIT = (
    Player(
        name="Stella Shellwick",
        albums=("Two-Note Suppers", "Shell Collection", "Small Change"),
        left_hand="shells", comping=("charleston", "halves", "charleston", "pushed"),
        register=76, span=12, grain=(0.08, 0.74, 0.16, 0.02), reach=3.0, chromatic=0.55, motif=0.15,
        phrase=(9, 20), rest=(1, 2), doubling=(3, 0.02), swing=0.62, legato=0.72, loudness=78, spread=6, accent=9,
        left_loudness=-16, rubato=0.01, lag_s=0.012, pedal="dry", pace=1.28,
    ),
    Player(
        name="Rufus Rootlesson",
        albums=("Nobody Plays the Bass", "Upper Rooms", "Rainlight"),
        left_hand="rootless", comping=("charleston", "pushed", "stabs", "held"),
        register=72, span=10, grain=(0.22, 0.58, 0.17, 0.03), reach=4.0, chromatic=0.3, motif=0.35,
        phrase=(6, 12), rest=(1.5, 3), doubling=(12, 0.06), swing=0.6, legato=0.95, loudness=64, spread=9, accent=4,
        left_loudness=-8, rubato=0.02, lag_s=0.022, pedal="touches", pace=1.0,
    ),
    Player(
        name="Walt Stridewell",
        albums=("Parlour Machinery", "Left Hand, Long Legs", "Monday Rent"),
        left_hand="stride", comping=("held",),
        register=79, span=14, grain=(0.2, 0.45, 0.28, 0.07), reach=6.5, chromatic=0.2, motif=0.45,
        phrase=(7, 15), rest=(0.5, 2), doubling=(9, 0.24), swing=0.66, legato=0.6, loudness=86, spread=10, accent=-4,
        left_loudness=-6, rubato=0.008, lag_s=-0.004, pedal="dry", pace=1.05,
    ),
    Player(
        name="Quentin Fourths",
        albums=("Stacks", "Weather Reports", "Iron Stairs"),
        left_hand="quartal", comping=("pushed", "stabs", "held", "busy"),
        register=69, span=15, grain=(0.12, 0.62, 0.08, 0.18), reach=5.0, chromatic=0.12, motif=0.5,
        phrase=(5, 14), rest=(0.5, 2), doubling=(5, 0.1), swing=0.55, legato=0.85, loudness=94, spread=12, accent=8,
        left_loudness=2, rubato=0.012, lag_s=0.0, pedal="touches", pace=1.12,
    ),
    Player(
        name="Bea Blockford",
        albums=("Locked Hands", "Velvet Rope", "Late and Lush"),
        left_hand="block", comping=("halves",),
        register=74, span=9, grain=(0.52, 0.42, 0.06, 0.0), reach=3.0, chromatic=0.22, motif=0.4,
        phrase=(5, 10), rest=(0.5, 1.5), doubling=(12, 0.0), swing=0.64, legato=0.9, loudness=70, spread=7, accent=6,
        left_loudness=-5, rubato=0.02, lag_s=0.018, pedal="touches", pace=0.86,
    ),
    Player(
        name="Cora Canonby",
        albums=("Three Voices, Two Hands", "Inner Streets", "Solo at the Boathouse"),
        left_hand="counter", comping=("held",),
        register=67, span=12, grain=(0.22, 0.42, 0.12, 0.24), reach=4.5, chromatic=0.35, motif=0.55,
        phrase=(8, 18), rest=(0.5, 2), doubling=(4, 0.05), swing=0.53, legato=1.05, loudness=60, spread=13, accent=2,
        left_loudness=-6, rubato=0.05, lag_s=0.004, pedal="legato", pace=0.95,
    ),
)  # fmt: skip
PLAYERS = tuple(player.name for player in PLAYERS_BY_HABIT)
