"""A grammar of the local shops, people and employers that no list holds.

A shop's name may tell what it sells (``BOULANGERIE MARTIN``) or not (``SARL MARTIN``, ``SUMUP *DURAND``). Invented
brands stand for the real ones that no author of rules knows: only a model that has seen them labelled knows what
they sell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np

from training.budget.synthetic.merchants import Merchant, chains


def _list(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in " ".join(text.split()).split(";"))


FEES: Final = _list(
    """
    COTISATION CARTE VISA; FRAIS TENUE DE COMPTE; COMMISSION INTERVENTION; COTIS ESPRIT LIBRE; FRAIS PAIEMENT CB
    HORS UE; INTERETS DEBITEURS; ABON OPTION SMS; COTISATION MENSUELLE CARTE; FRAIS REJET PRELEVEMENT; FORFAIT
    CONVENTION; FORFAIT COMPTE; ARRETE DE COMPTE; AGIOS; COMMISSION DE CHANGE; COTIS CARTE; FRAIS VIREMENT
    INTERNATIONAL; DROITS DE GARDE; TENUE DE COMPTE; ABONNEMENT SERVICES BANQUE A DISTANCE; LETTRE INFORMATION
    """
)
EMPLOYERS: Final = _list(
    """
    CAPGEMINI; MAIRIE DE; RECTORAT ACADEMIE; AIRBUS OPERATIONS; CHU; LA POSTE; SARL MARTIN; ADECCO; MANPOWER;
    RENAULT SAS; SNCF RESEAU; BNP PARIBAS RH; DASSAULT SYS; SAS TRANSPORTS BERNARD; CABINET ROUX; DRFIP TRAITEMENT;
    CONSEIL DEPARTEMENTAL; SOPRA STERIA; CARREFOUR HYPER; AUCHAN RETAIL; INTERMARCHE LOG
    """
)
SURNAMES: Final = _list(
    """
    MARTIN; BERNARD; DUBOIS; THOMAS; ROBERT; RICHARD; PETIT; DURAND; LEROY; MOREAU; SIMON; LAURENT; LEFEBVRE;
    MICHEL; GARCIA; DAVID; BERTRAND; ROUX; VINCENT; FOURNIER; MOREL; GIRARD; ANDRE; MERCIER; DUPONT; LAMBERT;
    BONNET; FRANCOIS; MARTINEZ; LEGRAND; GARNIER; FAURE; ROUSSEAU; BLANC; GUERIN; MULLER; HENRY; ROUSSEL; NICOLAS;
    PERRIN; MORIN; MATHIEU; CLEMENT; GAUTHIER; DUMONT; LOPEZ; FONTAINE; CHEVALIER; ROBIN; MASSON; SANCHEZ; GERARD;
    NGUYEN; BOYER; DENIS; LEMAIRE; DUVAL; JOLY; GAUTIER; ROGER; ROCHE; ROY; NOEL; MEYER; LUCAS; MEUNIER; JEAN;
    PEREZ; MARCHAND; DUFOUR; BLANCHARD; MARIE; BARBIER; BRUN; DUMAS; BRUNET; SCHMITT; LEROUX; COLIN; FERNANDEZ;
    BOULANGER; TRAORE; BENALI; DA SILVA; OZTURK; HADDAD; KERVELLA; ETCHEVERRY
    """
)
FIRST: Final = _list(
    """
    MARIE; JEAN; PAUL; LOUISE; HUGO; LEA; NINA; KARIM; SOFIA; MARCEL; JULES; EMMA; LUCIE; YANN; GINO; LOLA; SAM;
    ADELE; MEHDI; INES; ROSE; LOUIS
    """
)
NOUNS: Final = _list(
    """
    GARE; MAIRIE; PORT; MARCHE; HALLES; FONTAINE; TILLEULS; PLATANES; MOULIN; CHATEAU; PARC; OLIVIERS; LILAS; VIEUX
    PONT; SOLEIL; CEDRE; PHARE; CANAL; BEFFROI; CLOCHER; ROSERAIE; PETIT BOIS; GRAND PRE; CENTRE
    """
)
SYLLABLES: Final = _list(
    """
    KA; LO; MI; NEO; VIA; ZEN; TRI; BEL; OR; SO; LU; NA; MO; RI; VEL; TA; DO; PLI; CO; FI; ELA; QUO; BIS; UNI; XO;
    MAR; GO; EPI
    """
)
CITIES: Final = _list(
    """
    PARIS; LYON; MARSEILLE; TOULOUSE; NANTES; BORDEAUX; LILLE; RENNES; STRASBOURG; NICE; MONTPELLIER; GRENOBLE;
    DIJON; ANGERS; BREST; TOURS; ST ETIENNE; LE HAVRE; LIMOGES; AMIENS; METZ; PERPIGNAN; CAEN; ORLEANS; MULHOUSE;
    ROUEN; NANCY; MONTREUIL; AVIGNON; POITIERS; VERSAILLES; PAU; LA ROCHELLE; ANNECY; VANNES; QUIMPER; BIARRITZ;
    ARRAS; VALENCE; CHAMBERY; NIORT; LAVAL; AUCH; CAHORS; RODEZ; ST MALO; LANNION; VILLEURBANNE; AIX EN PROVENCE;
    CLERMONT FD; BOULOGNE BILL; ISSY LES MOUL
    """
)

# What a local shop of a category calls itself when its name says something; {s} surname, {n} noun, {f} first name, {x}
# an invented word. Several words are at home in more than one category, as they are on real signs.
TELLING: Final = {
    "alimentation": _list(
        """
        BOULANGERIE {s}; BOUCHERIE {s}; PRIMEUR DU {n}; EPICERIE {n}; FROMAGERIE {s}; AU FOURNIL DU {n}; BOUL {s};
        CAVE {s}; POISSONNERIE {n}; MAISON {s}; GAEC DU {n}; MARCHE {n}; ALIM {n}; LES HALLES DE {f}; ATELIER DU
        PAIN; SPAR {n}; VIVAL
        """
    ),
    "restaurants": _list(
        """
        RESTAURANT {s}; BRASSERIE {n}; PIZZERIA {f}; CAFE DU {n}; CREPERIE {n}; CHEZ {f}; LE BISTROT {n}; KEBAB {f};
        SUSHI {x}; BAR LE {n}; LA TABLE DE {f}; TAVERNE {n}; LE COMPTOIR {n}; WOK {x}; AUBERGE DU {n}; TRAITEUR {s};
        O TACOS {n}
        """
    ),
    "transport": _list(
        """
        TAXI {s}; GARAGE {s}; PARKING {n}; AUTO ECOLE {n}; CONTROLE TECH {n}; CARROSSERIE {s}; VELO {x};
        STATIONNEMENT {n}
        """
    ),
    "carburant": _list(
        """
        STATION {n}; RELAIS DU {n}; GARAGE {s}; STATION SERVICE {s}
        """
    ),
    "sante": _list(
        """
        PHARMACIE {n}; PHARMACIE {s}; DR {s}; DOCTEUR {s}; SELARL {s}; CAB DENTAIRE {s}; OPTIQUE {n}; LABO {n}; KINE
        {s}; PHIE DU {n}; CENTRE MEDICAL {n}; CABINET {s}; OSTEO {s}; MAISON DE SANTE {n}; RADIOLOGIE {n}; CARDIO {n};
        INFIRMIERE {s}
        """
    ),
    "loisirs": _list(
        """
        CINEMA {n}; LIBRAIRIE {n}; TABAC {n}; BOWLING {x}; PISCINE {n}; THEATRE {n}; MUSEE {n}; CLUB {x}; PRESSE
        {n}; TABAC PRESSE {s}; ESCAPE {x}; GOLF DU {n}; ATELIER {f}; CENTRE EQUESTRE {n}
        """
    ),
    "voyages": _list(
        """
        HOTEL {n}; CAMPING {n}; GITE {n}; HOTEL DU {n}; VOYAGES {s}; CHALET {n}; RESIDENCE {n}; CHAMBRE D HOTES {f}
        """
    ),
    "habillement": _list(
        """
        BOUTIQUE {f}; CHAUSSURES {s}; PRET A PORTER {f}; MODE {x}; CORDONNERIE {n}; PRESSING {n}; ATELIER {f};
        FRIPERIE {n}
        """
    ),
    "maison": _list(
        """
        QUINCAILLERIE {s}; MEUBLES {s}; FLEURS {f}; PEPINIERE {n}; PLOMBERIE {s}; ELECTRICITE {s}; DROGUERIE {n};
        JARDIN DU {n}; MENUISERIE {s}; SERRURERIE {n}; CUISINES {x}; BROCANTE {n}; MAISON {s}
        """
    ),
    "high_tech": _list(
        """
        INFORMATIQUE {n}; MOBILE {x}; PHONE {x}; MICRO {s}; SMARTPHONE {x}; ORDI {x}; DEPANN PC {n}; PC {x};
        VIDEO SON {x}; TELEPHONIE {n}; REPAR PHONE {n}
        """
    ),
    "enfants": _list(
        """
        CRECHE {n}; PERISCOLAIRE {n}; CENTRE AERE {n}; JOUETS {f}; ECOLE {n}; MAM {n}; PUERICULTURE {f}; CLUB {x}
        """
    ),
    "beaute": _list(
        """
        COIFFURE {f}; SALON {f}; INSTITUT {f}; BARBIER {f}; ESTHETIQUE {n}; ONGLERIE {x}; SPA {x}; ATELIER {f};
        COIFF {x}; ONGLES {f}; BEAUTE {x}; HAIR {x}; ATELIER DU REGARD {f}
        """
    ),
    "animaux": _list(
        """
        VETERINAIRE {s}; CLINIQUE VET {n}; TOILETTAGE {x}; ANIMALERIE {n}; DR {s}; ELEVAGE DU {n}; VETO {n}; CABINET
        VETERINAIRE {n}; PENSION CANINE {n}; CHENIL DU {n}; CROQUETTES {x}; AQUARIOPHILIE {n}; LES ANIMAUX DE {f};
        EDUCATION CANINE {s}
        """
    ),
}
SILENT: Final = _list(
    """
    SARL {s}; SAS {x}; {s} {f}; LE {n}; {x}; EURL {s}; SUMUP *{s}; ZETTLE_*{s} {f}; L ATELIER {x}; AU {n}; ETS {s};
    {x} SAS; SARL {x}; MME {s}; {s} ET FILS; LA {n}; SC-{s}; STE {x}; {f} ET {f}; CHEZ {s}; PAYPAL *{x}
    """
)


@cache
def brands(category: str, world: int, count: int = 9) -> tuple[Merchant, ...]:
    """Return invented brands of a category: in one world the same ones for all, everywhere."""
    rng = np.random.default_rng([20_28, world, sorted(TELLING).index(category)])
    level = _level(category)
    invented = []
    for _ in range(count):
        name = _word(rng) + _one(rng, ("", "", " " + _word(rng), " FRANCE", " SAS", "EO"))
        median = level * float(np.exp(rng.normal(0, 0.35)))
        invented.append(
            Merchant(name.title(), category, (name, name.split()[0]), median, float(rng.uniform(0.35, 0.7)))
        )
    return tuple(invented)


def local(rng: np.random.Generator, category: str, count: int, telling: float) -> list[Merchant]:
    """Invent local shops of a category; a `telling` share of the names hint at what is sold."""
    level = _level(category)
    patterns = TELLING[category]
    shops = []
    for _ in range(count):
        pattern = _one(rng, patterns) if rng.random() < telling else _one(rng, SILENT)
        while "{f}" in pattern:  # a first name that is asked for twice is two people
            pattern = pattern.replace("{f}", _one(rng, FIRST), 1)
        name = pattern.format(s=_one(rng, SURNAMES), n=_one(rng, NOUNS), x=_word(rng))
        shops.append(
            Merchant(
                name=name.replace("*", "").title(),
                category=category,
                written=(name,),
                median=level * float(np.exp(rng.normal(0, 0.45))),
                spread=float(rng.uniform(0.35, 0.8)),
                cents=_one(rng, ("any", "any", "50", "00")),
            )
        )
    return shops


def _level(category: str) -> float:
    return float(np.exp(np.mean([np.log(one.median) for one in chains()[category]])))


def _word(rng: np.random.Generator) -> str:
    return "".join(_one(rng, SYLLABLES) for _ in range(int(rng.integers(2, 4))))


def _one(rng: np.random.Generator, of: Sequence[str]) -> str:
    return of[int(rng.integers(len(of)))]
