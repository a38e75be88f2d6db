from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.budget.labels import LONGEST_LABEL, LONGEST_TEXT, OPERATIONS, find_nameless, parsed, plain

SHAPES = [
    # label, kind, text
    ("CB CARREFOUR CITY 12/03/24", "card", "CARREFOUR CITY"),
    ("CARTE 11/03/24 CARREFOUR CITY 4 CB*1234", "card", "CARREFOUR CITY"),
    ("CARTE X1234 12/03 MONOPRIX LYON 3EME", "card", "MONOPRIX"),
    ("CARTE X0042 28/12 PHARMACIE DE LA GARE ISSY LES MOUL", "card", "PHARMACIE DE LA GARE"),
    ("FACTURE CARTE DU 120324 LE PETIT ZINC PARIS CARTE 4974XXXXXXXX1234", "card", "LE PETIT ZINC"),
    ("PAIEMENT PAR CARTE X1234 BOULANGERIE PAUL NANTES 12/03", "card", "BOULANGERIE PAUL"),
    ("PAIEMENT CB 1203 LYON CARREFOUR CITY CARTE 12345678", "card", "CARREFOUR CITY"),
    ("PAIEMENT PSC 1203 AIX EN PROVENCE LIDL CARTE 12345678", "card", "LIDL"),
    ("ACHAT CB DECATHLON 12.03.24 CARTE NUMERO 123", "card", "DECATHLON"),
    ("CB LIDL 1042    FACT 120324", "card", "LIDL"),
    ("CB SUMUP *DURAND 69LYON", "card", "SUMUP DURAND"),
    ("CB AMAZON.FR*2K4TY LU 12/03", "card", "AMAZON FR 2K4TY LU"),
    ("PAIEMENT CB 1406 PARIS HOPITAUX DE PARIS CARTE 99768451", "card", "HOPITAUX DE PARIS"),
    ("PRLV SEPA EDF CLIENTS PARTICULIERS ECH/150324 MDT/MA12345678 REF/33375654", "debit", "EDF CLIENTS PARTICULIERS"),
    ("PRLV SEPA FREE MOBILE 123456789", "debit", "FREE MOBILE"),
    ("PRELEVEMENT EUROPEEN 1234567890 DE: MAIF ID: FR12ZZZ123456 MOTIF: COTISATION", "debit", "MAIF COTISATION"),
    ("PRELEVEMENT DE NETFLIX REF : 53465346", "debit", "NETFLIX"),
    ("VIREMENT SEPA RECU /DE MAIRIE DE VIC /MOTIF SALAIRE MARS /REF 123456", "transfer", "MAIRIE DE VIC SALAIRE MARS"),
    ("VIR SEPA M DUPONT JEAN LOYER", "transfer", "M DUPONT JEAN LOYER"),
    ("VIR INST LYDIA SOLUTIONS", "transfer", "LYDIA SOLUTIONS"),
    ("VIREMENT EN VOTRE FAVEUR CAF DU RHONE", "transfer", "CAF DU RHONE"),
    ("VIR RECU 1234567890123S DE: CPAM DE PARIS MOTIF: REMBOURSEMENT", "transfer", "CPAM DE PARIS REMBOURSEMENT"),
    ("RETRAIT DAB 12/03/24 BNP PARIBAS PARIS 11", "cash", "BNP PARIBAS"),
    ("RETRAIT AU DISTRIBUTEUR X1234 CREDIT AGRICOLE BREST 12/03", "cash", "CREDIT AGRICOLE"),
    ("CARTE X1234 RETRAIT DAB SG 12/03 10H32 LYON 00123456", "cash", "LYON"),
    ("CHEQUE 1234567", "cheque", ""),
    ("CHQ. 0000123", "cheque", ""),
    ("*COTISATION CARTE VISA PREMIER", "fee", "COTISATION CARTE VISA PREMIER"),
    ("COMMISSION D'INTERVENTION", "fee", "COMMISSION D INTERVENTION"),
    ("AVOIR CB AMAZON EU SARL 12/03", "refund", "AMAZON EU SARL"),
    ("REMBOURST CB DU 120324 ZARA PARIS CARTE 4974XXXXXXXX1234", "refund", "ZARA"),
    ("CARTE X2691 12/03 CR CARREFOUR LYON", "refund", "CARREFOUR"),
    ("Netflix.com", "other", "NETFLIX COM"),
    ("Café de l'Été", "other", "CAFE DE L ETE"),
    ("Virement à Mme Dubois Louise", "transfer", "MME DUBOIS LOUISE"),
    ("MK2 BIBLIOTHEQUE", "other", "MK2 BIBLIOTHEQUE"),
    ("CB LYON", "card", "LYON"),  # a name that is only a place
    ("", "other", ""),
    ("***", "other", ""),
    ("CB\nPAUL\t\x00LYON", "card", "PAUL"),
]  # fmt: skip


@pytest.mark.parametrize(("label", "operation", "text"), SHAPES)
def test_a_label_is_parsed(label: str, operation: str, text: str) -> None:
    one = parsed([label])
    assert (OPERATIONS[one.operations[0]], one.texts[0]) == (operation, text)


def test_a_batch_is_parsed_as_each_label_alone() -> None:
    labels = [label for label, _, _ in SHAPES]
    whole = parsed(labels)
    assert whole.texts == [parsed([label]).texts[0] for label in labels]
    assert whole.operations.tolist() == [int(parsed([label]).operations[0]) for label in labels]
    assert parsed([]).texts == []


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_parsed_to_plain_words(label: str) -> None:
    text = parsed([label]).texts[0]
    assert text == plain(text)
    assert all(character in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 " for character in text)


@given(st.dates(), st.integers(10**4, 10**8))
@settings(max_examples=50, deadline=None)
def test_dates_and_references_do_not_matter(day: date, reference: int) -> None:
    texts = {
        parsed([label]).texts[0]
        for form in ("%d/%m", "%d/%m/%y", "%d%m%y", "%d.%m.%Y")
        for label in (
            f"CB LA TABLE DE LOLA {day.strftime(form)}",
            f"CARTE {day.strftime(form)} LA TABLE DE LOLA {reference}",
        )
    }
    assert texts == {"LA TABLE DE LOLA"}


@pytest.mark.parametrize(
    "label",
    ["-", "123456", "12/03/2026", "4974XXXXXXXX1234", "CB", "PAIEMENT", "...", "CB 12/03", "PAIEMENT PAR CARTE X1234",
     "XXXX", "", "   ", "VIREMENT SEPA", "PRLV SEPA 12345678", "CB LYON 12/03", "N/A", "日本", "Transaction", "\t\n"],
)  # fmt: skip
def test_a_label_may_name_no_one(label: str) -> None:
    assert find_nameless(parsed([label]).texts).all()


@pytest.mark.parametrize(
    "label", ["CB H&M", "C&A", "CARTE D OR GLACES", "VIR M PAUL", "CB 3 SUISSES", "PAIEMENT LIDL", "BP"]
)
def test_short_names_are_names(label: str) -> None:
    assert not find_nameless(parsed([label]).texts).any()


@pytest.mark.parametrize(
    "label",
    ["FORFAIT COMPTE", "FORFAIT DE COMPTE", "ARRETE DE COMPTE AU 31/03/26", "AGIOS DU 01/01", "COTISATION CARTE VISA",
     "COMMISSION D'INTERVENTION", "*FRAIS TENUE DE COMPTE", "F COTIS EUROCOMPTE", "INTERETS DEBITEURS",
     "DROITS DE GARDE"],
)  # fmt: skip
def test_short_words_of_a_bank_are_its_fees(label: str) -> None:
    assert OPERATIONS[parsed([label]).operations[0]] == "fee"


@pytest.mark.parametrize(
    "label",
    ["FRAIS DE NOTAIRE", "COTISATION CLUB TENNIS", "FRAIS DE SCOLARITE", "COTISATION MUTUELLE",
     "COMPTOIR DES COTONNIERS",
     "PRLV SEPA FRAIS CANTINE", "FORFAIT MOBILE", "COMMERCE DU COIN",
     "FRAIS D HOSPITALISATION", "ARRETE TON CHAR"],
)  # fmt: skip
def test_contributions_and_costs_of_others_are_no_fees(label: str) -> None:
    assert OPERATIONS[parsed([label]).operations[0]] != "fee"


def test_what_follows_a_long_text_says_nothing_new() -> None:
    sepa = (
        "PRLV SEPA EDF CLIENTS PARTICULIERS ECH/150326 ID EMETTEUR/FR12ZZZ123456 MDT/MA1234 REF/33375 LIB/"
        + "FACTURE " * 20
    )
    assert len(sepa) > 244 and parsed([sepa]).texts[0].startswith("EDF CLIENTS PARTICULIERS")
    for label in ("CB " + "MOT " * 1000, "A" * LONGEST_LABEL, "VIR " + "LOYER " * 600):
        text = parsed([label]).texts[0]
        assert 0 < len(text) <= LONGEST_TEXT and text == text.strip()
    assert parsed(["CB PAUL " + "MOT " * 60]).texts == parsed(["CB PAUL " + "MOT " * 900]).texts
