"""A model's files are those that were promoted."""

import numpy as np
import pytest

from ml.model import BOOSTER_FILE, ModelIntegrityError, load_model, model_sha256
from support.training import book


def test_model_survives_its_files(model, tmp_path):
    model.save(tmp_path)
    back = load_model(tmp_path, model_sha256(tmp_path))
    rows = book(100, 10)
    assert np.array_equal(back.fit.margin(rows), model.fit.margin(rows))
    assert (back.platt, back.reference) == (model.platt, model.reference)


def test_swapped_model_file_is_refused_before_it_is_read(model, tmp_path):
    model.save(tmp_path)
    promoted = model_sha256(tmp_path)
    (tmp_path / BOOSTER_FILE).write_bytes(b"\x80\x04planted pickle")
    with pytest.raises(ModelIntegrityError, match="changed after promotion"):
        load_model(tmp_path, promoted)
    (tmp_path / BOOSTER_FILE).unlink()
    with pytest.raises(ModelIntegrityError, match=r"missing: model\.ubj"):
        load_model(tmp_path, promoted)
