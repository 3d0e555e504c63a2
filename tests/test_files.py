"""Names and contents of small files."""

from mxjax.files import file_name, read_rows


def test_long_names_are_cut_and_stay_apart(tmp_path):
    assert file_name("gsm8k/test") == "gsm8k_test" and file_name("jsonl:a b.jsonl") == "jsonl_a b.jsonl"
    long = [f"jsonl:/{'deep/' * 60}{name}.jsonl" for name in ("one", "two", "\u00e9\ud800")]
    names = [file_name(name) for name in long]
    assert len(set(names)) == 3 and all(len(name.encode()) == 100 for name in names)
    assert names[0].endswith("deep_one.jsonl") and file_name(f"{long[0]}?") != names[0]
    (tmp_path / f"vote_{names[2]}_0123456789ab.jsonl.tmp").write_text("")


def test_rows_are_the_whole_objects_of_a_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    path.write_bytes(b'{"a": 1}\n[2]\n\xff\n{"b": "\xc3\xa9"}\n{"c": ')
    assert read_rows(path) == [{"a": 1}, {"b": "\u00e9"}]
