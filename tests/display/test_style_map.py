"""The map of styles."""

from xml.etree import ElementTree

import numpy as np

from lib.display.style_map import HEIGHT, WIDTH, style_map_html

SVG = "{http://www.w3.org/2000/svg}"


def test_a_dot_with_its_name_for_each_inside_the_frame():
    names = ["Ann & Co", "<Bob>", "Cem"]
    tree = ElementTree.fromstring(style_map_html(np.array([[0, 0], [1, 5], [0.5, 2]]), names, marked=["Cem"]))
    assert [title.text for title in tree.iter(f"{SVG}title")] == names
    for dot in tree.iter(f"{SVG}circle"):
        assert 0 < float(dot.get("cx")) < WIDTH and 0 < float(dot.get("cy")) < HEIGHT
    assert [text.text for text in tree.iter(f"{SVG}text")] == ["Cem"]


def test_one_pianist_is_a_map_too():
    assert style_map_html(np.zeros((1, 2)), ["Ann"]).count("<circle") == 1
