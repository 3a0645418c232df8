import pytest

from mmgpt.data.builders import MimicItFiles


def test_it_names_the_files_of_its_sets_and_makes_none(tmp_path):
    builder = MimicItFiles(tmp_path / 'mimicit', sets=['LA', 'SD'])
    names = {str(path.relative_to(tmp_path / 'mimicit')) for path in builder.files()}
    assert {'LA/LACR_I2I_instructions.json', 'LA/LADD_train.json', 'LA/LA.parquet', 'SD/SD_train.json'} <= names
    assert builder.is_built()
    builder.build()
    assert not (tmp_path / 'mimicit').exists()
    assert f'{builder.folder.as_posix()}/SET/' in builder.how_to_get(builder.folder / 'LA/LA.parquet')


def test_a_set_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no set 'CGB'; did you mean 'CGD'"):
        MimicItFiles(sets=['CGB'])
