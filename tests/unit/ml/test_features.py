"""Tests of the list of features: names, families, and the absence of protected attributes."""

import pytest

from ml.features import FEATURE_NAMES, FEATURES, by_name
from ml.reasons import FAMILIES

BANNED = ("age", "sex", "marital", "marriage", "education", "nation", "ethnic")


def test_feature_list_is_sound():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert {f.family for f in FEATURES} == {f.code for f in FAMILIES}
    assert not [n for n in FEATURE_NAMES if any(word in n.split("_") for word in BANNED)]
    with pytest.raises(KeyError, match="shoe_size"):
        by_name(["shoe_size"])
