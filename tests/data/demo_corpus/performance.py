"""One performance of a demo player: form, hands, tempo, pedal -> Notes."""

from __future__ import annotations

import math

import numpy as np
from demo_corpus.hands import Changes, LeftHand, Line, doubled, locked

from lib.music.notes import Notes

SHORTEST_S, LONGEST_S = 58.0, 88.0  # of a performance
PEDAL_GAP_S = 0.06  # the foot comes up with the new chord and goes down after it
RELEASE_S = 0.02  # the shortest time a key is up before it is struck again


def perform(player, tune, dice):
    """Play a tune once as this player would.

    Parameters
    ----------
    player : Player
    tune : Tune
    dice : Dice, the only source of chance

    Returns
    -------
    (Notes, tempo in beats a minute)
    """
    tempo_bpm = tune.tempo_bpm * player.pace * dice.between(0.95, 1.06)
    tempo_bpm = tempo_bpm if tune.feel == "ballad" else max(tempo_bpm, 104.0)
    bars = _num_bars(tune, 60 / tempo_bpm * tune.beats_per_bar, dice)
    chords = tune.chords(bars, key=int(dice.between(-5, 7)))
    strokes = _play(player, tune, chords, bars, dice)
    clock = _clock(player, tune, (bars + 2) * tune.beats_per_bar, tempo_bpm, dice)
    return _to_notes(strokes, clock, _pedal(player, tune, chords, clock, dice), dice), tempo_bpm


def _num_bars(tune, bar_s, dice):
    """Whole choruses where they fit the wished length, else whole groups of four bars."""
    wish_s = dice.between(SHORTEST_S + 4, LONGEST_S - 12)
    form = len(tune.bars())
    choruses = max(1, round(wish_s / (form * bar_s)))
    if SHORTEST_S <= choruses * form * bar_s <= LONGEST_S - 6:
        return choruses * form
    return 4 * max(2, round(wish_s / bar_s / 4))


def _play(player, tune, chords, bars, dice):
    """Strokes of both hands: theme, solo, a last chord."""
    changes, beats = Changes(chords), tune.beats_per_bar
    swing = {"swing": player.swing, "straight": 0.5, "ballad": (player.swing + 0.6) / 2}[tune.feel]
    right = Line(player, changes, dice, player.register, player.span, swing)
    strokes = _right_hand(right, tune, bars, dice)
    if player.left_hand == "block":
        strokes = locked(strokes, changes, player.left_loudness)
    strokes = doubled(strokes, player, dice, changes)
    return strokes + _left_hand(player, tune, changes, bars, dice, swing) + _ending(player, chords[-1], beats, dice)


def _heat(beat, total):
    """How far the performance has warmed up: 0 at first, 1 at three quarters, cooler at the end."""
    return math.sin(math.pi / 2 * min(1.0, beat / total / 0.75)) - max(0.0, beat / total - 0.85) * 3


def _right_hand(line, tune, bars, dice):
    """Phrases and breaths; the theme moves in longer notes than the solo, a ballad in shorter ones."""
    player, total = line.player, bars * tune.beats_per_bar
    theme_ends = min(total // 3, 8 * tune.beats_per_bar)
    strokes, beat = [], 0
    while beat < total:
        beats = min(round(dice.between(*player.phrase)), total - beat)
        grain = _grain(player, tune, beat < theme_ends)
        loudness = player.loudness - 6 + 12 * _heat(beat, total)
        strokes += line.phrase(beat, beats, grain, loudness)
        beat += beats + max(1, round(dice.between(*player.rest)))
    return strokes


def _grain(player, tune, theme):
    quarters, eighths, triplets, sixteenths = player.grain
    if tune.feel == "ballad":  # slow beats hold more notes
        return (quarters * 0.35, eighths * 0.6, triplets + 0.3 * eighths, sixteenths + 0.5 * eighths)
    if theme:
        return (quarters + 0.5 * eighths, eighths * 0.5, triplets * 0.5, 0.0)
    return player.grain


def _left_hand(player, tune, changes, bars, dice, swing):
    """Bar by bar what the player's left hand does."""
    hand, beats, total = LeftHand(player, dice, swing), tune.beats_per_bar, bars * tune.beats_per_bar
    tenor = Line(player, changes, dice, 55, 7, 0.5)
    play = {"stride": hand.stride, "block": hand.bass, "counter": hand.bass}.get(player.left_hand, hand.comp)
    strokes = []
    for bar in range(bars):
        first = bar * beats
        loudness = player.loudness + player.left_loudness + 8 * _heat(first, total)
        strokes += play(changes, first, beats, loudness)
        if player.left_hand == "counter":
            strokes += tenor.phrase(first, beats, (0.45, 0.5, 0.0, 0.05), loudness)
    return strokes


def _ending(player, chord, beats, dice):
    """A last chord, rolled, in both hands."""
    root = 36 + (chord.root - 36) % 12
    upper = [root + 12 + chord.tones[i] for i in (2, 3)] + [root + 24 + chord.tones[1], root + 24 + chord.ninth]
    return [
        (chord.start + 0.09 * i, beats * 1.5 - 0.09 * i, pitch, dice.around(player.loudness - 8, 4))
        for i, pitch in enumerate([root, *upper])
    ]


def _clock(player, tune, beats, tempo_bpm, dice):
    """Seconds at each half beat: tempo with slow drift, phrase ends that give way, a last ritardando.

    Returns
    -------
    float64 (2 * beats + 1,), seconds
    """
    half_beats = np.arange(2 * beats)
    rubato = player.rubato * (2.5 if tune.feel == "ballad" else 1.0)
    waves = [(dice.between(9, 14), dice.between(0, 6.28)), (dice.between(25, 40), dice.between(0, 6.28))]
    drift = sum(np.sin(half_beats / length * 2 * math.pi + phase) for length, phase in waves)
    giving_way = (half_beats % (8 * tune.beats_per_bar)) >= 8 * tune.beats_per_bar - 3
    ritardando = np.clip((half_beats - 2 * (beats - 3.5 * tune.beats_per_bar)) / 16, 0, 0.6)
    slowness = 1 + rubato * drift + 2 * rubato * giving_way + ritardando
    return np.concatenate([[0.0], np.cumsum(30 / tempo_bpm * slowness)])


def _seconds(clock, beats):
    return np.interp(np.asarray(beats, dtype=np.float64) * 2, np.arange(len(clock)), clock)


def _pedal(player, tune, chords, clock, dice):
    """Intervals in seconds: every chord (legato), some long ones (touches), the last one (dry)."""
    share = {"legato": 0.95, "touches": 0.4, "dry": 0.04}[player.pedal] + (0.35 if tune.feel == "ballad" else 0)
    intervals = []
    for chord in chords:
        down_s, up_s = _seconds(clock, [chord.start, chord.start + chord.beats * (1 if share > 0.6 else 0.7)])
        if chord is chords[-1] or dice.chance(share):
            intervals.append((down_s + PEDAL_GAP_S, up_s))
    intervals[-1] = (intervals[-1][0], float(clock[-1]))
    return intervals


def _to_notes(strokes, clock, pedal_s, dice):
    """Strokes to Notes: human timing, velocities in range, a key released before it is struck again."""
    beat, length, pitch, velocity = (np.array(column, dtype=np.float64) for column in zip(*strokes, strict=True))
    onset_s, end_s = _seconds(clock, beat), _seconds(clock, beat + length)
    jitter_s = np.array([dice.around(0.0, 0.006) for _ in strokes])
    onset_s = np.maximum(onset_s + jitter_s + 0.05, 0.0)
    duration_s = np.maximum(end_s + 0.05 - onset_s, 0.04)
    velocity = np.clip(np.round(velocity), 12, 124)
    notes = Notes.from_arrays(onset_s, duration_s, np.clip(pitch, 21, 108), velocity, pedal_s)
    return _restruck(notes)


def _restruck(notes):
    """Shorten a note that is struck again while it sounds; drop doubles of one moment."""
    duration_s = notes.duration_s.copy()
    last = {}
    for i, (onset_s, pitch) in enumerate(zip(notes.onset_s, notes.pitch, strict=True)):
        before = last.get(pitch)
        if before is not None:
            room_s = onset_s - notes.onset_s[before] - RELEASE_S
            duration_s[before] = min(duration_s[before], room_s)
            if room_s < 0.03:  # both hands on one key: one note
                duration_s[before] = 0.0
        last[pitch] = i
    return Notes.from_arrays(notes.onset_s, duration_s, notes.pitch, notes.velocity, notes.pedal_s)
