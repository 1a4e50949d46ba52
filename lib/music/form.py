"""The order in which the written bars of a lead sheet are played: repeats, endings, D.C. and D.S., Fine and coda.

Conventions: readers of all formats give each written bar its Marks. A repeat whose beginning is not written goes back
to the end of the repeat before it, else to the first bar. After a jump nothing is repeated, and of endings the last one
is taken. What can't be followed is refused by the name of the sign.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib.music.chords import ChordError

MOST_BARS = 5000  # once through; more is a mistake in the signs
JUMP = re.compile(
    r"\bD\.?\s*(?P<to>[CS])\b\.?"
    r"(?:\s*(?P<al>al)\b\.?(?:\s*(?:(?P<until>fine|coda)\b|(?P<ending>[1-9])(?:st|nd|rd|th)\s+end(?:ing)?\b\.?))?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Jump:
    """D.C. or D.S., and how the music ends after it.

    Attributes
    ----------
    to_segno : D.S., else D.C.
    until : "fine", "coda", "ending", or "" where nothing is said
    ending : number of the ending after which the music ends; 0: another `until`
    """

    to_segno: bool
    until: str = ""
    ending: int = 0

    @classmethod
    def find(cls, text: str) -> Jump | None:
        """The jump in a text such as "D.S. al Coda"; None: there is none.

        Raises
        ------
        ChordError : "al" something that is neither Fine, Coda nor a numbered ending
        """
        text = re.sub(r"\bda\s+capo\b", "D.C.", re.sub(r"\bdal\s+segno\b", "D.S.", text, flags=re.I), flags=re.I)
        match = JUMP.search(text)
        if match is None:
            return None
        ending, until = int(match["ending"] or 0), (match["until"] or "").lower()
        if match["al"] and not (ending or until):
            raise ChordError(
                f"{text.strip()!r} can't be followed: write D.C. or D.S., al Fine, al Coda or al 2nd ending."
            )
        return cls(match["to"].upper() == "S", "ending" if ending else until, ending)

    def __str__(self) -> str:
        until = f" al ending {self.ending}" if self.ending else f" al {self.until.title()}" if self.until else ""
        return f"D.{'S' if self.to_segno else 'C'}.{until}"


@dataclass(frozen=True)
class Marks:
    """What is written at a bar about the order of bars.

    Attributes
    ----------
    repeat_start, repeat_end : a repeat begins or ends with it
    times : how often the repeat that it is part of is played; 0: that is not written
    endings : the passes of its repeat in which it is played; all of them where it is empty
    segno, coda : the sign stands where it begins
    to_coda, fine : the sign stands where it ends
    jump : at its end, or None
    """

    repeat_start: bool = False
    repeat_end: bool = False
    times: int = 0
    endings: tuple[int, ...] = ()
    segno: bool = False
    coda: bool = False
    to_coda: bool = False
    fine: bool = False
    jump: Jump | None = None


@dataclass(frozen=True)
class _Repeat:
    """Bars `first` to `last`, endings included, that are played `passes` times."""

    first: int
    last: int
    passes: int


def play_order(bars: Sequence[Marks]) -> tuple[list[int], list[int]]:
    """Which bars are played, one after another.

    Parameters
    ----------
    bars : of the written bars

    Returns
    -------
    (chorus, outro) : indices of bars, once through; a coda that no jump leads to is an outro

    Raises
    ------
    ChordError : signs that can't be followed; the message names the bar and the sign
    """
    bars = _with_whole_first_endings([_resolved(bars, index) for index in range(len(bars))])
    for index, bar in enumerate(bars):
        following = bars[index + 1].endings if index + 1 < len(bars) else ()
        if bar.jump and bar.jump.ending > max(bar.endings, default=99) and bar.jump.ending in following:
            # but the repeat sign of this ending, written out
            first = _segno(bars, index) if bar.jump.to_segno else 0
            bars[index] = replace(bar, jump=None, repeat_end=True)
            bars[first] = replace(bars[first], repeat_start=True)
    coda = max((index for index, bar in enumerate(bars) if bar.coda), default=0)
    if coda and not any(bar.jump and bar.jump.until == "coda" for bar in bars):
        return _play(bars[:coda]), [coda + index for index in _play(bars[coda:], coda)]
    return _play(bars), []


def _with_whole_first_endings(bars):
    """A first ending lasts until its repeat sign, whatever bar lines stand in it."""
    ending = ()
    for index, bar in enumerate(bars):
        ending = () if bar.repeat_start else bar.endings or ending
        if ending and not bar.endings and any(other.repeat_end for other in _until_another_sign(bars[index:])):
            bars[index] = bar = replace(bar, endings=ending)
        ending = ending if 1 in ending and not bar.repeat_end else ()
    return bars


def _until_another_sign(bars):
    for bar in bars:
        if bar.endings or bar.repeat_start:
            return
        yield bar


def _resolved(bars, index):
    """A bar whose jump says how the music ends after it."""
    bar = bars[index]
    if bar.jump is None or bar.jump.until:
        return bar
    if any(other.fine for other in bars):
        return replace(bar, jump=replace(bar.jump, until="fine"))
    if any(other.to_coda for other in bars):
        return replace(bar, jump=replace(bar.jump, until="coda"))
    if index == len(bars) - 1 and not bar.jump.to_segno:
        return replace(bar, jump=None)  # a chart begins again anyway
    raise ChordError(f"{bar.jump}, but neither Fine nor coda after which the music ends.", index + 1)


def _segno(bars, index):
    for position, bar in enumerate(bars):
        if bar.segno:
            return position
    raise ChordError(f"{bars[index].jump}, but no segno.", index + 1)


def _target(bars, index):
    """Where the jump of a bar leads to; what it needs later must be there."""
    jump = bars[index].jump
    needed = {"fine": [bar.fine for bar in bars], "ending": [jump.ending in bar.endings for bar in bars]}
    needed["coda"] = [bar.to_coda and any(later.coda for later in bars) for bar in bars]
    if not any(needed[jump.until]):
        sign = {
            "fine": "no Fine",
            "coda": "not both a sign to leave for the coda and a coda",
            "ending": "no such ending",
        }
        raise ChordError(f"{jump}, but {sign[jump.until]}.", index + 1)
    return _segno(bars, index) if jump.to_segno else 0


def _repeats(bars, offset):
    """The _Repeat of each repeat, in order; messages number bars from `offset` on."""
    repeats, start, is_open, index = [], 0, False, 0
    while index < len(bars):
        if bars[index].repeat_start:
            if is_open:
                break
            start, is_open = index, True
        if bars[index].repeat_end:
            while index + 1 < len(bars) and bars[index + 1].endings and not bars[index + 1].repeat_start:
                index += 1
            repeats.append(_Repeat(start, index, _passes(bars[start : index + 1], offset + start)))
            start, is_open = index + 1, False
        index += 1
    if is_open:
        raise ChordError("the repeat that begins here has no end.", offset + start + 1)
    return repeats


def _passes(bars, first):
    """How often the bars of a repeat are played."""
    endings, times = {number for bar in bars for number in bar.endings}, max(bar.times for bar in bars)
    if not endings:
        return times or 2
    passes = max(*endings, 2)  # a first ending alone is left out the second time
    if times and times != passes:
        raise ChordError(f"{times}x, but endings for {passes} times.", first + 1)
    missing = set(range(1, passes + 1)) - endings
    if missing and endings != {1}:
        raise ChordError(f"a repeat that has endings, but no ending {min(missing)}.", first + 1)
    return passes


def _play(bars, offset=0):
    """Indices of bars, once through."""
    repeats, order, taken, jump = _repeats(bars, offset), [], set(), None

    def repeat_at(index):
        return next((repeat for repeat in repeats if repeat.first <= index <= repeat.last), None)

    def first_pass(index):
        repeat = repeat_at(index)
        if jump is None or repeat is None:
            return 1
        wanted = [bar for bar in bars[repeat.first : repeat.last + 1] if bar.endings and _is_wanted(bar, jump)]
        return jump.ending if wanted and jump.ending else min(wanted[0].endings) if wanted else repeat.passes

    _check_loose_signs(bars, repeat_at, offset)
    position, number = 0, 1
    while position < len(bars):
        bar, repeat = bars[position], repeat_at(position)
        is_played = not bar.endings or number in bar.endings
        if is_played:
            order.append(position)
            if len(order) > MOST_BARS:
                raise ChordError(f"more than {MOST_BARS:,} bars would be played.", offset + position + 1)
            if jump is not None and _ends(bars, position, jump):
                break
            if jump is not None and jump.until == "coda" and bar.to_coda:
                jump, position, number = None, max(i for i, other in enumerate(bars) if other.coda), 1
                continue
            if bar.jump and position not in taken and (repeat is None or number == repeat.passes):
                taken.add(position)
                jump, position = bar.jump, _target(bars, position)
                number = first_pass(position)
                continue
        is_end = is_played and bar.repeat_end or repeat is not None and position == repeat.last
        if repeat and jump is None and number < repeat.passes and is_end:
            position, number = repeat.first, number + 1
            continue
        position += 1
        if position < len(bars) and repeat_at(position) is not repeat:
            number = first_pass(position)
    else:
        if jump is not None:
            raise ChordError(f"{jump}, but what ends the music then is never reached.", offset + max(taken) + 1)
    if left := set(range(len(bars))) - set(order):
        raise ChordError("no sign leads here, so that it is never played.", offset + min(left) + 1)
    return order


def _is_wanted(bar, jump):
    """Whether a jump's music ends with a bar, or leaves for the coda behind it."""
    return {"fine": bar.fine, "coda": bar.to_coda, "ending": jump.ending in bar.endings}[jump.until]


def _ends(bars, position, jump):
    """Whether the music ends with a bar after a jump."""
    if jump.until == "ending":
        later = bars[position + 1].endings if position + 1 < len(bars) else ()
        return jump.ending in bars[position].endings and jump.ending not in later
    return jump.until == "fine" and bars[position].fine


def _check_loose_signs(bars, repeat_at, offset):
    for index, bar in enumerate(bars):
        sign = f"ending {bar.endings[0]}" if bar.endings else f"{bar.times}x" if bar.times else ""
        if sign and repeat_at(index) is None:
            raise ChordError(f"{sign}, but no repeat that it belongs to.", offset + index + 1)
        if bar.fine and index < len(bars) - 1 and not any(other.jump for other in bars):
            raise ChordError("Fine, but no D.C. or D.S. that leads back.", offset + index + 1)
