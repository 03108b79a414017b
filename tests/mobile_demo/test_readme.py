import pytest

from mobile_demo.dashboard.said import in_words
from mobile_demo.readme import tables
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")


def line_of(text, name):
    return next([cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if name in line)


def test_both_readmes_tables_have_the_records_numbers_each_in_its_language(made):
    records = made.run()
    ms = f"{records[0]['p50_ns'] / 1e6:.1f} ms"
    english, turkish = line_of(tables(records, EN), "xnnpack-int8 "), line_of(tables(records, TR), "xnnpack-int8 ")
    assert english[:3] == ["xnnpack-int8", "97.3 % (146 of 150; 93.3 % to 99.0 %)", ms]
    assert turkish[:3] == ["xnnpack-int8", "%97,3 (146/150; %93,3–%99,0)", ms.replace(".", ",")]
    assert english[6:] == ["53.1 MB", "4.4 MB"]


def test_a_server_is_named_with_its_network_and_what_was_emulated_is_said(made):
    row = ("cloud", "onnxruntime", "fp32", 30.0, 147, 0.6, 142.6, 13.6)
    notes = ["server and client share this machine; the network lte between them is emulated"]
    records = made.run({"onnx-fp32": row, "xnnpack-int8": ("device", *row[1:])}, notes=notes)
    text = tables(records, EN)
    assert line_of(text, "| onnx-fp32 ")[0] == "onnx-fp32 · cloud · lte"
    said = "- onnx-fp32 · cloud · lte: server and client share this machine; the network lte between them is emulated."
    assert [line for line in text.splitlines() if line.startswith("- ")] == [said]


def test_a_gpu_that_is_not_here_is_said_in_the_pages_language():
    assert in_words("not measured: no CUDA device", TR) == "GPU ölçülmedi: burada CUDA cihazı yok"


def test_the_newest_run_of_each_bundle_is_shown_with_its_machine(made):
    text = tables([*made.run(seed=2), *made.run(seed=3), *made.policy_run()], EN)
    heads = [line for line in text.splitlines() if line.startswith("**")]
    assert heads == [f"**{name}** on AMD EPYC 7B13, 2 cores, 2 threads:" for name in ("foodvision-mini", "cartpole")]
    assert line_of(text, "| Mean return")[:2] == ["System", "Mean return"]


@pytest.mark.parametrize(("words", "said"), [(EN, "the CPU governor was x."), (TR, "işlemci hız yöneticisi: x.")])
def test_warnings_are_printed_and_only_where_there_are_any(made, words, said):
    flagged = {"valid": False, "flags": ["cpu governor is x"]}
    assert said in tables(made.run(validity=flagged), words)
    assert words("flagged", flags="").split(":")[0] not in tables(made.run(), words)


def test_the_tables_hold_no_letter_that_cannot_be_seen_and_are_aligned(made):
    text = tables(made.run(), TR)
    assert not set("\xa0\u2060") & set(text)
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
