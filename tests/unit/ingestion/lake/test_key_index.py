"""Tests of the key indexes, compared with Python sets."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.ingestion.lake.key_index import KeyIndex, KeyPlaces, key_hashes


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=12),
    st.lists(st.integers(0, 40), max_size=6),
    st.integers(0, 12),
)
def test_places_name_every_file_that_has_a_key(tmp_path_factory, files, asked, saved_after):
    """`KeyPlaces` returns exactly the files that contain a key, also after the index was saved and loaded again."""
    hashes = lambda keys: np.sort(np.array(keys, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    folder = tmp_path_factory.mktemp("places")
    places = KeyPlaces(folder, ["k"], set())
    for n, keys in enumerate(files):
        if n == saved_after:
            places.save()
            places = KeyPlaces(folder, ["k"], {str(m) for m in range(len(files))})
        expected = {key for earlier in files[:n] for key in earlier}
        assert places.contains_any(hashes(keys)) == bool(expected & set(keys))
        places.add([(str(n), hashes(keys))])
    assert places.files_with(hashes(asked)) == {str(n) for n, keys in enumerate(files) if set(keys) & set(asked)}


def test_more_files_than_an_entry_can_tell_apart_are_all_named(tmp_path):
    """With more than 4,096 files, a search returns the file with the key, and may also return other files.

    An entry of the index stores only the lowest 12 bits of the file's number, so all files with the same 12 bits are
    returned.
    """
    places, apart = KeyPlaces(tmp_path, ["k"], set()), 1 << 12
    key = lambda n: np.array([(n + 1) << 40], dtype=np.uint64)
    places.add((str(n), key(n)) for n in range(apart + 3))
    assert places.files_with(key(apart + 1)) == {"1", str(apart + 1)}
    assert places.files_with(key(5)) == {"5"}
    assert not places.contains_any(key(apart + 3))


@given(st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=9), st.lists(st.integers(0, 60), max_size=5))
def test_index_knows_what_was_added(tmp_path_factory, runs, asked):
    folder = tmp_path_factory.mktemp("index")
    index = KeyIndex(folder, ())
    for n, run in enumerate(runs):
        index = index.add(np.sort(np.array(run, dtype=np.uint64)), f"run{n}")
        index.sweep()
    added = {key for run in runs for key in run}
    assert index.contains_any(np.sort(np.array(asked, dtype=np.uint64))) == bool(added & set(asked))
    assert len(index.runs) <= max(1, len(runs))


def test_hashes_are_of_the_whole_key(tmp_path):
    pl.DataFrame({"a": ["1", "12"], "b": ["23", "3"]}).write_parquet(tmp_path / "x.parquet")
    first, second = key_hashes([tmp_path / "x.parquet"], ["a", "b"])
    assert first != second
