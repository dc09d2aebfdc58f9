"""The figures of the paper's result tables, as printed, and which rows of ours they are beside.

"Aligning Large Language Models with Recommendation Knowledge", Tables 1 to 6, 8 and 9; Tables 7 and
10 are in `recalign.data.statistics`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from recalign.report.outcomes import metrics_of

DATASETS = {"toys": "Toys & Games", "beauty": "Beauty", "sports": "Sports & Outdoors"}
DELTA = "delta"
_TITLES = {
    1: ("retrieval", "Retrieval"),
    2: ("ranking", "Ranking"),
    3: ("rating", "Rating prediction, AUC-ROC in percent"),
    4: ("retrieval", "Retrieval, what each task adds"),
    5: ("ranking", "Ranking, what each task adds"),
    6: ("rating", "Rating prediction, what each task adds, AUC-ROC in percent"),
    8: ("ranking", "Ranking by P5's prompts"),
    9: ("retrieval", "Retrieval with and without item contents"),
}


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row on one dataset."""

    label: str  # as the paper names it
    # What an entry of ours has as `paper_key` if it is the same system, or "delta": the paper's
    # best model against its best baseline, in percent.
    key: str
    figures: tuple[str, ...]  # as printed, in the order of the table's metrics


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """A table: its number, what it is about, and its rows of each dataset."""

    number: int
    kind: str
    title: str
    rows: Mapping[str, tuple[PaperRow, ...]]

    @property
    def metrics(self) -> tuple[str, ...]:
        return metrics_of(self.kind)

    @property
    def marks_second(self) -> bool:
        """Table 8 marks the best alone."""
        return self.number != 8


# Table, dataset, row, our key, figures; none where Tables 1 to 3 have them already. P5's own row is
# cited from a paper of another preparation: nothing of ours is the same system.
_FIGURES = """
1 | toys | Caser | caser | 0.0107 0.0141 0.0166 0.0270
1 | toys | HGN | hgn | 0.0221 0.0277 0.0321 0.0497
1 | toys | GRU4Rec | gru4rec | 0.0059 0.0084 0.0097 0.0176
1 | toys | BERT4Rec | bert4rec | 0.0071 0.0099 0.0116 0.0203
1 | toys | FDSA | fdsa | 0.0140 0.0189 0.0228 0.0381
1 | toys | SASRec | sasrec | 0.0306 0.0374 0.0463 0.0675
1 | toys | S³-Rec | s3rec | 0.0294 0.0376 0.0443 0.0700
1 | toys | TIGER | tiger/ | 0.0371 0.0432 0.0521 0.0712
1 | toys | P5 | p5cited | 0.0050 0.0066 0.0070 0.0121
1 | toys | P5-XL | p5/xl | 0.0023 0.0031 0.0035 0.0061
1 | toys | FLAN-T5-Base | zero_shot/base | 0.0000 2e-5 0.0000 5e-5
1 | toys | FLAN-T5-XL | zero_shot/xl | 2e-5 2e-5 5e-5 5e-5
1 | toys | ReAT | reat/xl | 0.0390 0.0461 0.0558 0.0776
1 | toys | UT | ut/xl | 0.0166 0.0202 0.0252 0.0362
1 | toys | UT+AT | ut_at/xl | 0.0392 0.0459 0.0563 0.0772
1 | toys | Δ (%) | delta | +5.66 +6.71 +8.06 +8.99
1 | beauty | Caser | caser | 0.0131 0.0176 0.0205 0.0347
1 | beauty | HGN | hgn | 0.0206 0.0266 0.0325 0.0512
1 | beauty | GRU4Rec | gru4rec | 0.0099 0.0137 0.0164 0.0283
1 | beauty | BERT4Rec | bert4rec | 0.0124 0.0170 0.0203 0.0347
1 | beauty | FDSA | fdsa | 0.0163 0.0208 0.0267 0.0407
1 | beauty | SASRec | sasrec | 0.0249 0.0318 0.0387 0.0605
1 | beauty | S³-Rec | s3rec | 0.0244 0.0327 0.0387 0.0647
1 | beauty | TIGER | tiger/ | 0.0321 0.0384 0.0454 0.0648
1 | beauty | P5 | p5cited | 0.0107 0.0136 0.0163 0.0254
1 | beauty | P5-XL | p5/xl | 0.0036 0.0050 0.0063 0.0104
1 | beauty | FLAN-T5-Base | zero_shot/base | 0.0000 0.0000 0.0000 0.0000
1 | beauty | FLAN-T5-XL | zero_shot/xl | 0.0000 0.0000 0.0000 0.0000
1 | beauty | ReAT | reat/xl | 0.0382 0.0442 0.0535 0.0722
1 | beauty | UT | ut/xl | 0.0188 0.0231 0.0292 0.0425
1 | beauty | UT+AT | ut_at/xl | 0.0329 0.0397 0.0482 0.0693
1 | beauty | Δ (%) | delta | +19.00 +15.10 +17.84 +11.42
1 | sports | Caser | caser | 0.0072 0.0097 0.0116 0.0194
1 | sports | HGN | hgn | 0.0120 0.0159 0.0189 0.0313
1 | sports | GRU4Rec | gru4rec | 0.0086 0.0110 0.0129 0.0204
1 | sports | BERT4Rec | bert4rec | 0.0075 0.0099 0.0115 0.0191
1 | sports | FDSA | fdsa | 0.0122 0.0156 0.0182 0.0288
1 | sports | SASRec | sasrec | 0.0154 0.0192 0.0233 0.0350
1 | sports | S³-Rec | s3rec | 0.0161 0.0204 0.0251 0.0385
1 | sports | TIGER | tiger/ | 0.0181 0.0225 0.0264 0.0400
1 | sports | P5 | p5cited | 0.0041 0.0052 0.0061 0.0095
1 | sports | P5-XL | p5/xl | 0.0029 0.0035 0.0040 0.0060
1 | sports | FLAN-T5-Base | zero_shot/base | 0.0000 9e-6 0.0000 3e-5
1 | sports | FLAN-T5-XL | zero_shot/xl | 0.0000 0.0000 0.0000 0.0000
1 | sports | ReAT | reat/xl | 0.0188 0.0232 0.0285 0.0422
1 | sports | UT | ut/xl | 0.0079 0.0101 0.0118 0.0187
1 | sports | UT+AT | ut_at/xl | 0.0178 0.0219 0.0268 0.0393
1 | sports | Δ (%) | delta | +3.87 +3.11 +7.95 +5.50
2 | toys | BPR-MF | bprmf | 0.0641 0.0940 0.0233 0.1066 0.2003
2 | toys | BPR-MLP | bprmlp | 0.0688 0.0988 0.0252 0.1142 0.2077
2 | toys | SimpleX | simplex | 0.1244 0.1469 0.0268 0.1958 0.2662
2 | toys | P5-XL | p5/xl | 0.0290 0.0444 0.0097 0.0494 0.0977
2 | toys | FLAN-T5-Base | zero_shot/base | 0.0107 0.0127 0.0057 0.0156 0.0217
2 | toys | FLAN-T5-XL | zero_shot/xl | 0.0160 0.0312 0.0026 0.0315 0.0793
2 | toys | RaAT | raat/xl | 0.1714 0.2034 0.0956 0.2464 0.3453
2 | toys | UT | ut/xl | 0.1536 0.1867 0.0831 0.2233 0.3259
2 | toys | UT+AT | ut_at/xl | 0.1703 0.2064 0.0938 0.2443 0.3562
2 | toys | Δ (%) | delta | +37.78 +40.50 +256.72 +25.84 +33.81
2 | beauty | BPR-MF | bprmf | 0.0857 0.1224 0.0311 0.1426 0.2573
2 | beauty | BPR-MLP | bprmlp | 0.0848 0.1215 0.0317 0.1392 0.2542
2 | beauty | SimpleX | simplex | 0.1441 0.1711 0.0325 0.2247 0.3090
2 | beauty | P5-XL | p5/xl | 0.0298 0.0456 0.0110 0.0498 0.0992
2 | beauty | FLAN-T5-Base | zero_shot/base | 0.0097 0.0113 0.0052 0.0137 0.0189
2 | beauty | FLAN-T5-XL | zero_shot/xl | 0.0152 0.0296 0.0022 0.0301 0.0753
2 | beauty | RaAT | raat/xl | 0.1376 0.1691 0.0702 0.2036 0.3013
2 | beauty | UT | ut/xl | 0.1236 0.1537 0.0609 0.1863 0.2798
2 | beauty | UT+AT | ut_at/xl | 0.1441 0.1758 0.0742 0.2126 0.3112
2 | beauty | Δ (%) | delta | 0.00 +2.75 +128.31 -5.38 +0.71
2 | sports | BPR-MF | bprmf | 0.0848 0.1220 0.0314 0.1404 0.2563
2 | sports | BPR-MLP | bprmlp | 0.0927 0.1296 0.0351 0.1520 0.2671
2 | sports | SimpleX | simplex | 0.1505 0.1800 0.0331 0.2362 0.3290
2 | sports | P5-XL | p5/xl | 0.0286 0.0436 0.0097 0.0486 0.0957
2 | sports | FLAN-T5-Base | zero_shot/base | 0.0069 0.0082 0.0035 0.0102 0.0144
2 | sports | FLAN-T5-XL | zero_shot/xl | 0.0097 0.0193 0.0014 0.0192 0.0491
2 | sports | RaAT | raat/xl | 0.0933 0.1199 0.0424 0.1448 0.2272
2 | sports | UT | ut/xl | 0.0867 0.1137 0.0381 0.1362 0.2202
2 | sports | UT+AT | ut_at/xl | 0.0997 0.1281 0.0468 0.1526 0.2404
2 | sports | Δ (%) | delta | -33.75 -28.83 +33.33 -35.39 -26.93
3 | toys | History | history | 66.59
3 | toys | DMF | dmf | 51.82
3 | toys | Wide&Deep | widedeep | 70.93
3 | toys | P5-XL | p5/xl | 51.04
3 | toys | FLAN-T5-Base | zero_shot/base | 57.85
3 | toys | FLAN-T5-XL | zero_shot/xl | 55.23
3 | toys | RpAT | rpat/xl | 71.16
3 | toys | UT | ut/xl | 70.79
3 | toys | UT+AT | ut_at/xl | 71.08
3 | toys | Δ (%) | delta | +0.32
3 | beauty | History | history | 64.80
3 | beauty | DMF | dmf | 51.23
3 | beauty | Wide&Deep | widedeep | 67.10
3 | beauty | P5-XL | p5/xl | 50.63
3 | beauty | FLAN-T5-Base | zero_shot/base | 56.04
3 | beauty | FLAN-T5-XL | zero_shot/xl | 53.77
3 | beauty | RpAT | rpat/xl | 68.27
3 | beauty | UT | ut/xl | 67.45
3 | beauty | UT+AT | ut_at/xl | 67.55
3 | beauty | Δ (%) | delta | +1.74
3 | sports | History | history | 62.78
3 | sports | DMF | dmf | 51.38
3 | sports | Wide&Deep | widedeep | 67.60
3 | sports | P5-XL | p5/xl | 50.36
3 | sports | FLAN-T5-Base | zero_shot/base | 55.00
3 | sports | FLAN-T5-XL | zero_shot/xl | 52.01
3 | sports | RpAT | rpat/xl | 65.87
3 | sports | UT | ut/xl | 65.35
3 | sports | UT+AT | ut_at/xl | 65.18
3 | sports | Δ (%) | delta | -2.56
4 | toys | 1. TIGER | tiger/ | 0.0371 0.0432 0.0521 0.0712
4 | toys | 2. FLAN-T5-XL | zero_shot/xl |
4 | toys | 3. 2+retrieval | retrieval/xl | 0.0182 0.0219 0.0273 0.0388
4 | toys | 4. 3+MLM | retrieval_mlm/xl | 0.0306 0.0369 0.0443 0.0641
4 | toys | 5. 4+MIM | reat/xl |
4 | toys | 6. FLAN-T5-Base | zero_shot/base |
4 | toys | 7. 6+retrieval | retrieval/base | 0.0149 0.0183 0.0219 0.0325
4 | toys | 8. 7+MLM | retrieval_mlm/base | 0.0219 0.0271 0.0334 0.0495
4 | toys | 9. 8+MIM | reat/base | 0.0242 0.0304 0.0376 0.0566
5 | toys | 1. SimpleX | simplex |
5 | toys | 2. FLAN-T5-XL | zero_shot/xl |
5 | toys | 3. 2+ranking | ranking/xl | 0.1520 0.1864 0.0807 0.2218 0.3284
5 | toys | 4. 3+MLM | ranking_mlm/xl | 0.1580 0.1912 0.0854 0.2303 0.3333
5 | toys | 5. 4+MIM | ranking_mlm_mim/xl | 0.1677 0.1976 0.0938 0.2391 0.3317
5 | toys | 6. 5+BPR | raat/xl |
5 | toys | 7. FLAN-T5-Base | zero_shot/base |
5 | toys | 8. 7+ranking | ranking/base | 0.1349 0.1654 0.0720 0.1957 0.2901
5 | toys | 9. 8+MLM | ranking_mlm/base | 0.1481 0.1782 0.0820 0.2119 0.3051
5 | toys | 10. 9+MIM | ranking_mlm_mim/base | 0.1489 0.1811 0.0817 0.2141 0.3136
5 | toys | 11. 10+BPR | raat/base | 0.1534 0.1844 0.0844 0.2196 0.3153
6 | toys | 1. Wide&Deep | widedeep |
6 | toys | 2. FLAN-T5-XL | zero_shot/xl |
6 | toys | 3. 2+rating-prediction | rating/xl | 70.38
6 | toys | 4. 3+MLM | rating_mlm/xl | 71.08
6 | toys | 5. 4+MIM | rpat/xl |
6 | toys | 6. FLAN-T5-Base | zero_shot/base |
6 | toys | 7. 6+rating-prediction | rating/base | 69.17
6 | toys | 8. 7+MLM | rating_mlm/base | 67.31
6 | toys | 9. 8+MIM | rpat/base | 68.24
8 | toys | P5-XL | p5/xl |
8 | toys | P5-XL (5-5) | p5_direct/xl | 0.0274 0.0428 0.0089 0.0467 0.0948
8 | toys | UT | ut/xl |
8 | beauty | P5-XL | p5/xl |
8 | beauty | P5-XL (5-5) | p5_direct/xl | 0.0289 0.0443 0.0093 0.0497 0.0982
8 | beauty | UT | ut/xl |
8 | sports | P5-XL | p5/xl |
8 | sports | P5-XL (5-5) | p5_direct/xl | 0.0275 0.0426 0.0091 0.0470 0.0943
8 | sports | UT | ut/xl |
9 | sports | UT | ut/xl |
9 | sports | UT+IE | ut_ie/xl | 0.0076 0.0097 0.0121 0.0185
"""


def _read(figures: str) -> tuple[PaperTable, ...]:
    rows: dict[int, dict[str, list[PaperRow]]] = {}
    known: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for line in figures.strip().splitlines():
        number, dataset, label, key, printed = (part.strip() for part in line.split("|"))
        system = _TITLES[int(number)][0], dataset, key
        known[system] = tuple(printed.split()) or known[system]
        of_table = rows.setdefault(int(number), {})
        of_table.setdefault(dataset, []).append(PaperRow(label, key, known[system]))
    return tuple(
        PaperTable(
            number, *_TITLES[number], {dataset: tuple(found) for dataset, found in of_table.items()}
        )
        for number, of_table in rows.items()
    )


TABLES = _read(_FIGURES)
"""Tables 1 to 6, 8 and 9."""
