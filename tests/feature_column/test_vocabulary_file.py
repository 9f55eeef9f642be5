import pytest
import torch

from tests.feature_column.ids import flat_ids_of, ids_of
from torchestimator import feature_column as fc


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("p\nq\n\u65e5\u672c\nlast", encoding="utf-8")
    return path


def test_ids_are_lines(path):
    column = fc.categorical_column_with_vocabulary_file("v", path)
    assert (column.num_buckets, column.vocabulary_file) == (4, str(path))
    assert flat_ids_of(column, {"v": ["q", "\u65e5\u672c", "last", "x"]}) == [1, 2, 3, -1]


def test_only_the_first_lines_count(path):
    column = fc.categorical_column_with_vocabulary_file("v", str(path), 2, num_oov_buckets=3)
    assert flat_ids_of(column, {"v": ["q", "r", "u", "xyz"]}) == [1, 3, 4, 3]
    assert column.num_buckets == 5
    assert ids_of(fc.categorical_column_with_vocabulary_file("v", path, 1, default_value=0), {"v": ["x"]}) == [[0]]


def test_lines_may_be_numbers_and_end_as_on_windows(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_bytes(b"7\r\n-3\r\n")
    column = fc.categorical_column_with_vocabulary_file("v", path, dtype=torch.int64)
    assert flat_ids_of(column, {"v": [7, -3, 1]}) == [0, 1, -1]


def test_bad_files(path, tmp_path):
    make = fc.categorical_column_with_vocabulary_file
    with pytest.raises(FileNotFoundError, match=r"nowhere.txt', which is not there"):
        make("v", tmp_path / "nowhere.txt")
    with pytest.raises(FileNotFoundError, match=r"which is a folder"):
        make("v", tmp_path)
    with pytest.raises(ValueError, match=r"has 4. Leave it out"):
        make("v", path, 5)
    with pytest.raises(ValueError, match=r"'p' in line 1"):
        make("v", path, dtype=torch.int64)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match=r"which is empty"):
        make("v", tmp_path / "empty.txt")
    (tmp_path / "twice.txt").write_text("p\nq\np\n")
    with pytest.raises(ValueError, match=r"more than once.*\['p'\]"):
        make("v", tmp_path / "twice.txt")


def test_bad_arguments(path):
    with pytest.raises(ValueError, match=r"`file_format`.*'tfrecord_gzip'"):
        fc.categorical_column_with_vocabulary_file("v", path, file_format="tfrecord_gzip")
    with pytest.raises(ValueError, match=r"`vocabulary_size`.*Received: 0"):
        fc.categorical_column_with_vocabulary_file("v", path, 0)
    with pytest.raises(ValueError, match=r"Leave one out"):
        fc.categorical_column_with_vocabulary_file("v", path, default_value=1, num_oov_buckets=2)
