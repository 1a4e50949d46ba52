"""Two hands of a demo player: lines for the right, voicings and rhythms for the left.

Conventions: a stroke is (beat, length in beats, MIDI pitch, velocity); beats are already swung.
Lines lead from one beat's chord tone to the next one's by scale steps and approach notes.
"""

from __future__ import annotations

import math

COMPING = {  # (beat in the bar, length in beats); .5 is the off-beat eighth
    "charleston": ((0, 1.3), (1.5, 1.6)),
    "halves": ((0, 1.8), (2, 1.7)),
    "pushed": ((1.5, 1.4), (3.5, 1.4)),
    "stabs": ((0.5, 0.5), (2.5, 0.5), (3, 0.6)),
    "held": ((0, 3.2),),
    "busy": ((0, 0.7), (1.5, 0.6), (2.5, 1.2)),
}


class Dice:
    """Choices from a numpy Generator, by its uniform numbers alone (those never change between releases)."""

    def __init__(self, generator):
        self.generator = generator

    def between(self, low, high):
        return low + (high - low) * self.generator.random()

    def chance(self, share):
        return self.generator.random() < share

    def pick(self, choices, weights=None):
        """One of the choices, equally likely or by weight."""
        weights = [1.0] * len(choices) if weights is None else weights
        point = self.generator.random() * sum(weights)
        for choice, weight in zip(choices, weights, strict=True):
            point -= weight
            if point < 0:
                return choice
        return choices[-1]

    def around(self, centre, spread):
        """Nearly normal: the sum of four uniform numbers."""
        return centre + spread * (sum(self.generator.random(4)) - 2) * math.sqrt(3)


class Changes:
    """Chords by beat."""

    def __init__(self, chords):
        self.chords = chords

    def at(self, beat):
        """The chord sounding at a beat; the last one rings on."""
        following = (chord for chord in self.chords if beat < chord.start + chord.beats)
        return next(following, self.chords[-1])


def swung(beat, swing):
    """Move an off-beat eighth (x.5) to where this player puts it."""
    whole = math.floor(beat)
    return whole + swing if abs(beat - whole - 0.5) < 1e-6 else beat


def nearest_index(ladder, pitch):
    """Index of the pitch in an ascending ladder that is nearest."""
    return min(range(len(ladder)), key=lambda i: abs(ladder[i] - pitch))


class Line:
    """A melodic line over changes: phrases, breaths and cells that come back.

    Attributes
    ----------
    player : Player ; changes : Changes ; dice : Dice
    centre, span : MIDI pitch and semitones; where the line turns around
    swing : off-beat's place in the beat
    """

    def __init__(self, player, changes, dice, centre, span, swing):
        self.player, self.changes, self.dice, self.swing = player, changes, dice, swing
        self.centre, self.low, self.high = centre, centre - span, centre + span
        self.pitch, self.direction = centre, 1

    def target(self, chord, reach):
        """A chord tone about `reach` semitones on; turns around where the register ends."""
        if self.pitch >= self.high - 2 or self.pitch <= self.low + 2 or self.dice.chance(0.22):
            self.direction = 1 if self.pitch < self.centre else -1
        tones = chord.ladder(self.low, self.high, chord_tones_only=True)
        wish = self.pitch + self.direction * max(1.0, self.dice.around(reach, reach / 2))
        return tones[nearest_index(tones, wish)]

    def beat(self, beat, count, reach):
        """`count` pitches from here towards the next beat's target, which becomes the new place."""
        chord = self.changes.at(beat)
        ladder = chord.ladder(self.low - 5, self.high + 5)
        target = self.target(self.changes.at(beat + 1), reach)
        start, end = nearest_index(ladder, self.pitch), nearest_index(ladder, target)
        steps = [ladder[round(start + (end - start) * i / count)] for i in range(count)]
        if count > 1 and self.dice.chance(self.player.chromatic):
            steps[-1] = target + (1 if self.dice.chance(0.4) else -1)
        elif count > 1 and steps[-1] == target:
            steps[-1] = ladder[max(0, min(len(ladder) - 1, end + self.direction))]
        self.pitch = target
        return steps

    def repeat(self, beat, cell):
        """The cell's scale steps, begun from here on this beat's chord."""
        ladder = self.changes.at(beat).ladder(self.low - 5, self.high + 5)
        start = nearest_index(ladder, self.pitch)
        pitches = [ladder[max(0, min(len(ladder) - 1, start + step))] for step in cell]
        self.pitch = self.target(self.changes.at(beat + 1), self.player.reach)
        return pitches

    def cell_of(self, beat, pitches):
        """Pitches as steps on the scale of the moment, to be repeated later."""
        ladder = self.changes.at(beat).ladder(self.low - 5, self.high + 5)
        places = [nearest_index(ladder, pitch) for pitch in pitches]
        return [place - places[0] for place in places]

    def phrase(self, first, beats, grain, loudness):
        """Strokes of one phrase from beat `first`, rising to its middle and falling again."""
        strokes, cell = [], None
        for index in range(beats):
            beat = first + index
            if cell and self.dice.chance(self.player.motif):
                pitches = self.repeat(beat, cell)
            else:
                pitches = self.beat(beat, self.dice.pick((1, 2, 3, 4), grain), self.player.reach)
                cell = self.cell_of(beat, pitches) if len(pitches) > 1 else cell
            arch = 9 * math.sin(math.pi * (index + 0.5) / beats)
            strokes += self.strokes_of(beat, pitches, loudness + arch)
        return strokes

    def strokes_of(self, beat, pitches, loudness):
        """The beat's notes in its subdivision, with accents and articulation."""
        count = len(pitches)
        places = (0, self.swing) if count == 2 else [i / count for i in range(count)]
        strokes = []
        for place, following, pitch in zip(places, [*places[1:], 1.0], pitches, strict=True):
            accent = self.player.accent if place >= 0.5 else 0
            velocity = self.dice.around(loudness + accent, self.player.spread)
            strokes.append((beat + place, (following - place) * self.player.legato, pitch, velocity))
        return strokes


class LeftHand:
    """Voicings of one player, led smoothly from chord to chord."""

    def __init__(self, player, dice, swing):
        self.player, self.dice, self.swing = player, dice, swing
        self.previous = 55.0

    def near(self, pitch_class, low, wish):
        """The octave of a pitch class at or above `low` that is nearest to `wish`."""
        lowest = low + (pitch_class - low) % 12
        return min((lowest, lowest + 12), key=lambda pitch: abs(pitch - wish))

    def voicing(self, chord):
        """MIDI pitches of the chord as this player holds it."""
        build = {"shells": self.shell, "rootless": self.rootless, "quartal": self.quartal}
        return build.get(self.player.left_hand, self.middle)(chord)

    def shell(self, chord):
        root = self.near(chord.root, 36, 42)
        return [root, root + chord.tones[self.dice.pick((1, 3, 3))] + (12 if root < 40 else 0)]

    def rootless(self, chord):
        """Bill-of-fare A (3 5 7 9) or B (7 9 3 5), whichever lies nearer to the last voicing."""
        third, fifth, seventh = chord.tones[1:]
        forms = ((third, fifth, seventh, chord.ninth), (seventh - 12, chord.ninth - 12, third, fifth))
        root = self.near(chord.root, 48, 52)
        candidates = [[root + t + shift for t in form] for form in forms for shift in (-12, 0)]
        candidates = [c for c in candidates if c[0] >= 46] or candidates
        voicing = min(candidates, key=lambda c: abs(sum(c) / 4 - self.previous))
        self.previous = sum(voicing) / 4 * 0.7 + 57 * 0.3
        return voicing

    def quartal(self, chord):
        """Fourths stacked from the root (minor), the third (major) or the seventh (dominant)."""
        bottom = {"m7": 0, "m6": 2, "maj7": 4, "6": 4}.get(chord.quality, chord.tones[3])
        scale = chord.ladder(36, 90)
        low = scale[nearest_index(scale, self.near((chord.root + bottom) % 12, 45, 49))]
        place = scale.index(low)
        return [scale[place + 3 * i] for i in range(self.dice.pick((3, 4)))]

    def middle(self, chord):
        """Three guide tones round middle C, for stride's second and fourth beat."""
        pitches = [self.near((chord.root + tone) % 12, 51, 57) for tone in chord.tones[1:]]
        return sorted(pitches)

    def comp(self, changes, first, beats, loudness):
        """One bar of chords in one of the player's rhythms; off-beats anticipate the next chord."""
        strokes = []
        for place, length in COMPING[self.dice.pick(self.player.comping)]:
            if place < beats:
                offbeat = place % 1 == 0.5
                chord = changes.at(first + place + (0.5 if offbeat else 0))
                beat = swung(first + place, self.swing)
                strokes += self.struck(self.voicing(chord), beat, min(length, beats - place + 0.5), loudness)
        return strokes

    def struck(self, pitches, beat, length, loudness):
        """The pitches together, each finger with its own weight."""
        weights = [self.dice.around(loudness, self.player.spread * 0.6) for _ in pitches]
        return [(beat, length, pitch, weight) for pitch, weight in zip(pitches, weights, strict=True)]

    def stride(self, changes, first, beats, loudness):
        """Bass, tenth or octave on strong beats, chord on weak ones."""
        strokes = []
        for beat in range(first, first + beats):
            chord, strong = changes.at(beat), (beat - first) % 2 == 0 and (beats != 3 or beat == first)
            if not strong:
                strokes += self.struck(self.middle(chord), beat, 0.45, loudness - 6)
                continue
            root = self.near(chord.root if beat == first else (chord.root + chord.tones[2]) % 12, 31, 36)
            upper = self.dice.pick(([], [root + 12], [root + 12 + chord.tones[1]]), (0.45, 0.3, 0.25))
            strokes += self.struck([root, *upper], beat, 0.85, loudness + 4)
        return strokes

    def bass(self, changes, first, beats, loudness):
        """A held root under each chord of the bar."""
        chords = {chord.start: chord for chord in (changes.at(first), changes.at(first + beats / 2))}
        strokes = []
        for start, chord in chords.items():
            beat = max(start, first)
            length = min(chord.start + chord.beats, first + beats) - beat
            strokes += self.struck([self.near(chord.root, 33, 40)], beat, length * 0.95, loudness)
        return strokes


def locked(strokes, changes, left_loudness):
    """Block chords: three chord tones under each on-beat melody note, and the melody again an octave below."""
    chords = []
    for beat, length, pitch, velocity in strokes:
        tones = [p for p in changes.at(beat).ladder(pitch - 11, pitch - 2, chord_tones_only=True)][-3:]
        inner = tones if length > 0.3 else []
        chords += [(beat, length, tone, velocity - 9) for tone in inner]
        chords.append((beat, length, pitch - 12, velocity + left_loudness))
    return strokes + chords


def doubled(strokes, player, dice, changes):
    """Now and then the line in thirds, sixths, fourths or octaves, adjusted to the chord."""
    interval, share = player.doubling
    extra = []
    for beat, length, pitch, velocity in strokes:
        if dice.chance(share):
            ladder = changes.at(beat).ladder(pitch - interval - 2, pitch - 2)
            if ladder:
                extra.append((beat, length, ladder[nearest_index(ladder, pitch - interval)], velocity - 8))
    return strokes + extra
