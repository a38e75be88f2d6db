"""Who French households pay: national chains, and those they have contracts with.

Each line of `CHAINS` is ``canonical name | as statements write it; another way / another brand | median in EUR | spread
| cents``, where the spread is the standard deviation of the logarithm, and cents is how prices end: ``any``, ``99``,
``50`` or ``00``; brands on one line cost alike. One name may be in several categories: Amazon sells in eight,
supermarkets sell fuel. Neither the rules nor the features read these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

CHAINS: Final = {
    "alimentation": """
        Carrefour | CARREFOUR; CARREFOUR MARKET; CARREFOUR CITY; CARREF EXPRESS; CRF CITY | 42 | .8 | any
        E.Leclerc | E LECLERC; LECLERC; E.LECLERC; CENTRE LECLERC; SCAPALEC LECLERC; LECLERC DRIVE | 58 | .75 | any
        Intermarché | INTERMARCHE; ITM; INTERMARCHE SUPER; INTERMARCHE EXPRESS | 45 | .75 | any
        Auchan | AUCHAN; AUCHAN SUPERMARCHE; AUCHAN DRIVE; MY AUCHAN | 52 | .8 | any
        Lidl | LIDL; LIDL FRANCE | 31 | .7 | any
        Aldi | ALDI; ALDI MARCHE | 27 | .7 | any
        Super U | SUPER U; HYPER U; U EXPRESS; SYSTEME U; COURSES U | 44 | .75 | any
        Monoprix | MONOPRIX; MONOP; MONOPRIX SA | 26 | .75 | any
        Franprix | FRANPRIX; FRANPRIX NOE | 17 | .65 | any
        Casino | CASINO SHOP; GEANT CASINO; PETIT CASINO; CASINO SUPERM | 24 | .7 | any
        Picard | PICARD; PICARD SURGELES | 29 | .6 | any
        Biocoop | BIOCOOP / BIO C BON / NATURALIA | 33 | .65 | any
        Grand Frais | GRAND FRAIS; GRAND FRAIS GIE | 38 | .6 | any
        Amazon | AMAZON EU SARL; AMZN MKTP FR; AMAZON PAYMENTS | 24 | .6 | any
    """,
    "restaurants": """
        McDonald's | MCDONALD S; MC DO; MCDONALDS; MAC DONALD | 12.5 | .45 | any
        Burger King | BURGER KING; BK | 14 | .4 | any
        KFC | KFC; KFC FRANCE | 14.5 | .4 | any
        Starbucks | STARBUCKS; STARBUCKS COFFEE | 6.9 | .35 | any
        Paul | PAUL; BOULANGERIE PAUL | 8.4 | .45 | any
        Brioche Dorée | BRIOCHE DOREE; LA BRIOCHE DOREE | 8.8 | .4 | any
        Sushi Shop | SUSHI SHOP; SUSHISHOP | 29 | .4 | any
        Domino's | DOMINO S PIZZA; DOMINOS; DPFC | 22 | .4 | any
        Uber Eats | UBER EATS; UBER *EATS; UBER *EATS HELP.UBER.COM; UBEREATS PARIS | 24 | .4 | any
        Deliveroo | DELIVEROO; DELIVEROO.FR; DELIVEROO FR | 25 | .4 | any
        Flunch | FLUNCH; FLUNCH SAS | 15 | .4 | any
        Buffalo Grill | BUFFALO GRILL | 41 | .45 | any
        Hippopotamus | HIPPOPOTAMUS; HIPPO | 46 | .4 | any
        Sodexo | SODEXO; SODEXO SFS / ELIOR / COMPASS GROUP / API RESTAURATION | 6.2 | .5 | any
        IKEA | IKEA RESTAURANT; IKEA | 11 | .4 | any
        PayPal | PAYPAL *RESTO; PAYPAL *UBEREATS | 23 | .4 | any
    """,
    "transport": """
        RATP | RATP; RATP TICKET; RATP APPLI | 8 | .8 | any
        SNCF | SNCF; SNCF CONNECT; TER SNCF; SNCF-VOYAGEURS; SNCF WEB MOBILE | 14 | .5 | any
        Uber | UBER; UBER *TRIP; UBER *TRIP HELP.UBER.COM; UBER BV | 13.5 | .5 | any
        Bolt | BOLT.EU; BOLT.EUO; BOLT | 11.5 | .5 | any
        Vinci Autoroutes | VINCI AUTOROUTES; ASF; COFIROUTE / APRR AUTOROUTE; AREA / SANEF | 12 | .8 | any
        Indigo | INDIGO; PARKING INDIGO; INDIGO PARK / EFFIA / Q-PARK | 6.5 | .7 | any
        PayByPhone | PAYBYPHONE / FLOWBIRD / EASYPARK | 3.2 | .7 | any
        Blablacar | BLABLACAR; COMUTO BLABLACAR | 13 | .5 | any
        Lime | LIME*RIDE; LIME / DOTT / TIER MOBILITY | 3.6 | .5 | any
        Norauto | NORAUTO / FEU VERT / MIDAS / SPEEDY / EUROMASTER | 130 | .8 | any
        Transdev | TRANSDEV / KEOLIS / TCL / TISSEO / STAR RENNES / ILEVIA | 9 | .9 | any
    """,
    "carburant": """
        TotalEnergies | TOTAL; TOTAL ACCESS; TOTALENERGIES; RELAIS TOTAL | 57 | .35 | any
        Esso | ESSO; ESSO EXPRESS; CERTAS ESSO | 54 | .35 | any
        BP | BP; BP STATION | 58 | .35 | any
        Shell | SHELL; SHELL AVIA | 58 | .35 | any
        Avia | AVIA; STATION AVIA | 56 | .35 | any
        Carrefour | CARREFOUR STATION; CARREFOUR; CARREFOUR DAC; CRF DAC; CARREFOUR MARKET | 52 | .35 | any
        E.Leclerc | LECLERC DAC; E LECLERC; DAC LECLERC; LECLERC STATION; STAT LECLERC | 53 | .35 | any
        Intermarché | INTERMARCHE DAC; ITM STATION; INTERMARCHE | 51 | .35 | any
        Super U | STATION U; SUPER U DAC; SUPER U | 52 | .35 | any
        Auchan | AUCHAN CARBURANT; AUCHAN; AUCHAN STATION | 52 | .35 | any
        Ionity | IONITY / FASTNED / IZIVIA | 24 | .5 | any
    """,
    "sante": """
        Doctolib | DOCTOLIB; DOCTOLIB PAIEMENT | 30 | .5 | 00
        Optic 2000 | OPTIC 2000 / AFFLELOU / KRYS / OPTICAL CENTER / GENERALE D OPTIQUE | 165 | .8 | any
        Biogroup | BIOGROUP / LABO CERBA / SYNLAB / INOVIE / EUROFINS BIOLOGIE | 24 | .7 | any
        AP-HP | AP-HP; APHP; HOPITAUX DE PARIS / CHU REGIE / HOSPICES CIVILS | 32 | .9 | any
        Audika | AUDIKA / AMPLIFON / AUDITION CONSEIL | 60 | .8 | any
        Ramsay Santé | RAMSAY SANTE / ELSAN; CLINIQUE ELSAN | 58 | .8 | any
    """,
    "loisirs": """
        Fnac | FNAC; FNAC.COM; FNAC DARTY | 27 | .6 | 99
        Cultura | CULTURA; CULTURA.COM | 26 | .6 | 99
        UGC | UGC; UGC CINE CITE; UGC ILLIMITE | 14 | .35 | any
        Pathé | PATHE; GAUMONT PATHE; CINEMAS PATHE / CGR CINEMAS / MK2 | 14.5 | .4 | any
        Steam | STEAMGAMES.COM; STEAM PURCHASE; STEAM GAMES; WL *STEAM PURCHASE | 18 | .7 | 99
        PlayStation | PLAYSTATION NETWORK; SONY PLAYSTATION; PSN | 28 | .7 | 99
        Decathlon | DECATHLON; DECATHLON.FR; DECATHLON FRANCE | 34 | .75 | any
        FDJ | FDJ; LA FRANCAISE DES JEUX / PMU / BETCLIC / WINAMAX | 15 | .7 | 00
        Ticketmaster | TICKETMASTER / FNAC SPECTACLES / BILLETREDUC / DICE.FM | 55 | .6 | any
        Basic-Fit | BASIC FIT; BASIC-FIT FRANCE / FITNESS PARK / NEONESS / KEEPCOOL | 27 | .2 | 99
        Amazon | AMAZON EU SARL; AMZN MKTP FR; AMAZON PAYMENTS; AMAZON.FR*2K4TY | 19 | .6 | 99
        PayPal | PAYPAL *STEAM GAMES; PAYPAL *NINTENDO; PAYPAL | 22 | .7 | any
        Parc Astérix | PARC ASTERIX / DISNEYLAND PARIS; EURO DISNEY / PUY DU FOU / FUTUROSCOPE | 110 | .6 | any
        Leboncoin | LEBONCOIN; LBC FRANCE; LEBONCOIN PAIEMENT | 30 | .8 | any
    """,
    "voyages": """
        SNCF | SNCF CONNECT; SNCF; SNCF INTERNET; SNCF-VOYAGEURS / OUIGO / THALYS | 92 | .6 | any
        Air France | AIR FRANCE; AIRFRANCE / TRANSAVIA / EASYJET / RYANAIR / VUELING / VOLOTEA | 190 | .7 | any
        Booking.com | BOOKING.COM; BOOKING BV; HOTEL AT BOOKING.COM; BKG*HOTEL AT BOOKING | 185 | .7 | any
        Airbnb | AIRBNB; AIRBNB * HM4KX; AIRBNB PAYMENTS | 240 | .75 | any
        Accor | IBIS; NOVOTEL; MERCURE; IBIS BUDGET; ACCOR HOTELS / HOTEL F1 | 98 | .5 | any
        Hertz | HERTZ / AVIS / EUROPCAR / SIXT / GETAROUND / ADA LOCATION | 160 | .6 | any
        Pierre & Vacances | PIERRE ET VACANCES; CENTER PARCS / BELAMBRA / CLUB MED / HOMAIR / ODALYS | 520 | .6 | 00
        Eurostar | EUROSTAR / FLIXBUS / BLABLACAR BUS / TRAINLINE; TRAINLINE SAS | 75 | .6 | any
    """,
    "habillement": """
        Zara | ZARA; ZARA FRANCE; INDITEX ZARA | 46 | .6 | any
        H&M | H ET M; H&M; HM; H & M HENNES | 37 | .6 | 99
        Kiabi | KIABI; KIABI EUROPE | 32 | .6 | any
        Vinted | VINTED; VINTED UAB; VINTED.FR; MANGOPAY VINTED | 14 | .7 | any
        Zalando | ZALANDO; ZALANDO SE; ZALANDO PAYMENTS | 64 | .6 | any
        Galeries Lafayette | GALERIES LAFAYETTE; GL HAUSSMANN / PRINTEMPS / BHV MARAIS | 85 | .8 | any
        Celio | CELIO / JULES / BRICE / DEVRED | 48 | .5 | 99
        Shein | SHEIN; SHEIN.COM; ROADGET SHEIN | 28 | .6 | any
        Decathlon | DECATHLON; DECATHLON.FR | 31 | .6 | any
        Chaussea | CHAUSSEA / ERAM / LA HALLE / GEMO / SARENZA / SPARTOO | 47 | .5 | any
        Monoprix | MONOPRIX; MONOPRIX MODE | 29 | .6 | 99
        Amazon | AMAZON EU SARL; AMZN MKTP FR; AMAZON PAYMENTS | 29 | .5 | any
    """,
    "maison": """
        IKEA | IKEA; IKEA FRANCE; IKEA.COM; MEUBLES IKEA | 88 | .9 | any
        Leroy Merlin | LEROY MERLIN; LEROYMERLIN; LM LEROY MERLIN | 56 | .95 | any
        Castorama | CASTORAMA; CASTO / BRICO DEPOT / BRICO CASH | 49 | .95 | any
        Bricomarché | BRICOMARCHE / MR BRICOLAGE / WELDOM / BRICORAMA | 34 | .85 | any
        Conforama | CONFORAMA / BUT / ALINEA / FLY MEUBLES | 150 | .9 | 99
        Maisons du Monde | MAISONS DU MONDE; MDM | 68 | .8 | 99
        Action | ACTION; ACTION FRANCE / GIFI / LA FOIR FOUILLE / NOZ / STOKOMANI | 16 | .65 | any
        Jardiland | JARDILAND / TRUFFAUT / GAMM VERT / BOTANIC / VILLAVERDE | 37 | .75 | any
        Amazon | AMAZON EU SARL; AMZN MKTP FR; AMAZON PAYMENTS; AMAZON.FR*XD31K | 33 | .75 | any
        Cdiscount | CDISCOUNT; C DISCOUNT; CDISCOUNT 33 | 72 | .8 | 99
        ManoMano | MANOMANO; MANO MANO; COLIBRI SAS MANOMANO | 58 | .8 | any
    """,
    "high_tech": """
        Fnac | FNAC; FNAC.COM; FNAC DARTY | 140 | 1 | 99
        Darty | DARTY; DARTY ET FILS / BOULANGER; BOULANGER SA | 145 | 1 | 99
        Apple | APPLE STORE; APPLE.COM/FR; APPLE RETAIL | 210 | 1.1 | any
        LDLC | LDLC; LDLC.COM / MATERIEL.NET / TOP ACHAT | 120 | 1 | any
        Amazon | AMAZON EU SARL; AMZN MKTP FR; AMAZON PAYMENTS | 72 | 1 | 99
        Cdiscount | CDISCOUNT; CDISCOUNT 33 | 110 | .9 | 99
        Back Market | BACK MARKET; BACKMARKET; JUNG SAS BACK MARKET | 230 | .5 | any
        Samsung | SAMSUNG / XIAOMI STORE / HP STORE / DELL FRANCE / SONOS / GARMIN / CYBERTEK | 190 | .8 | any
        Rakuten | RAKUTEN; PRICEMINISTER; RAKUTEN FRANCE | 65 | .9 | any
    """,
    "enfants": """
        King Jouet | KING JOUET / LA GRANDE RECRE / JOUECLUB / OXYBUL / TOYS R US | 34 | .6 | 99
        Vertbaudet | VERTBAUDET / ORCHESTRA / AUBERT / SERGENT MAJOR / PETIT BATEAU | 47 | .6 | any
        Bureau Vallée | BUREAU VALLEE / CULTURA / RENTREE DISCOUNT / TOP OFFICE | 24 | .6 | any
        Babychou | BABYCHOU / KINOUGARDE / O2 GARDE ENFANT / YOOPIES | 130 | .6 | any
        Amazon | AMAZON EU SARL; AMZN MKTP FR; AMAZON PAYMENTS | 26 | .6 | 99
    """,
    "beaute": """
        Sephora | SEPHORA; SEPHORA.FR; SEPHORA FRANCE | 44 | .6 | any
        Yves Rocher | YVES ROCHER; YVES-ROCHER | 24 | .55 | any
        Nocibé | NOCIBE / MARIONNAUD / BEAUTY SUCCESS | 48 | .6 | any
        Jean Louis David | JEAN LOUIS DAVID / FRANCK PROVOST / SAINT ALGUE / TCHIP / DESSANGE | 38 | .45 | any
        Amazon | AMAZON EU SARL; AMZN MKTP FR | 18 | .5 | any
    """,
    "animaux": """
        Maxi Zoo | MAXI ZOO / ANIMALIS / TOM ET CO / MEDOR ET CIE | 36 | .6 | any
        Zooplus | ZOOPLUS; ZOOPLUS AG; ZOOPLUS SE / WANIMO | 52 | .5 | any
    """,
}  # fmt: skip

# Recurring payments: name | as written / another brand | median | spread; the price is fixed when the user subscribes.
CONTRACTS: Final = {
    "energie": """
        EDF | EDF CLIENTS PARTICULIERS; EDF; EDF CLIENT PARTICULIER | 88 | .4
        Engie | ENGIE; ENGIE PARTICULIERS | 96 | .4
        TotalEnergies | TOTALENERGIES ELECTRICITE; TOTAL ENERGIES ELEC GAZ; TOTALENERGIES | 84 | .4
        Eni | ENI GAS POWER FRANCE / PLENITUDE / EKWATEUR / OCTOPUS ENERGY FRANCE | 82 | .4
        Veolia | VEOLIA EAU / SUEZ EAU FRANCE / SAUR / EAU DE PARIS / REGIE DES EAUX | 34 | .4
    """,
    "telecom": """
        Orange | ORANGE SA; ORANGE; ORANGE FRANCE; SOSH | 31 | .4
        SFR | SFR; SFR FIXE ADSL; RED BY SFR; SFR MOBILE | 26 | .4
        Bouygues Telecom | BOUYGUES TELECOM; BOUYGUES TEL; B&YOU | 25 | .4
        Free | FREE MOBILE; FREE TELECOM; FREE HAUTDEBIT; FREE | 22 | .45
        Prixtel | PRIXTEL / LA POSTE MOBILE / NRJ MOBILE / LEBARA / SYMA | 12 | .4
    """,
    "abonnements": """
        Netflix | NETFLIX.COM; NETFLIX INTERNATIONAL; NETFLIX | 13.49 | .2
        Spotify | SPOTIFY; SPOTIFY AB; SPOTIFY P0A3F | 11.12 | .2
        Deezer | DEEZER; DEEZER.COM | 11.99 | .1
        Amazon | AMAZON PRIME; AMAZON PRIME FR; AMAZON EU SARL; AMZN PRIME FR | 6.99 | .05
        Disney+ | DISNEY PLUS; DISNEYPLUS; DISNEY+ | 8.99 | .1
        Canal+ | CANAL+; CANAL PLUS; CANAL+ FRANCE; GROUPE CANAL | 27.99 | .25
        Apple | APPLE.COM/BILL; APPLE.COM BILL; ITUNES.COM/BILL | 2.99 | .6
        Google | GOOGLE ONE; GOOGLE *GOOGLE STORAGE; GOOGLE *YOUTUBEPREMIUM; GOOGLE PAYMENT | 4.99 | .6
        Le Monde | LE MONDE; SOC EDITRICE DU MONDE / LIBERATION / MEDIAPART / LE FIGARO / OUEST FRANCE | 11 | .2
        Adobe | ADOBE; ADOBE SYSTEMS / MICROSOFT; MICROSOFT*365 / DROPBOX / OPENAI *CHATGPT / NORDVPN | 14 | .4
        PlayStation | PLAYSTATION NETWORK / XBOX GAME PASS / NINTENDO ONLINE | 10.5 | .3
        PayPal | PAYPAL *SPOTIFY; PAYPAL *PATREON; PAYPAL *TWITCH | 9 | .5
        Birdflow | BIRDFLOW MEDIA / KOMOVA / LUDIGO / ZENFIT APP / HABLAPP / NUTRIO / MEDITO PRO / SLOWPRESS | 8.5 | .5
    """,
    "assurances": """
        MAIF | MAIF; MAIF ASSURANCES; FILIA MAIF | 48 | .5
        MACIF | MACIF; MACIF MUTUALITE | 46 | .5
        AXA | AXA FRANCE; AXA ASSURANCES; AXA IARD | 52 | .5
        Groupama | GROUPAMA / GAN ASSURANCES / GMF / MATMUT / ALLIANZ VIE / GENERALI | 50 | .5
        Direct Assurance | DIRECT ASSURANCE; AVANSSUR / OLIVIER ASSURANCE / LUKO / LEOCARE / ALAN SA | 42 | .5
        Harmonie Mutuelle | HARMONIE MUTUELLE / MGEN / MUTUELLE GENERALE / MALAKOFF HUMANIS / AG2R / APICIL | 58 | .45
    """,
    "transport": """
        Navigo | COMUTITRES; IMAGINE R; NAVIGO ANNUEL; GIE COMUTITRES | 84 | .1
        Keolis | KEOLIS LYON / TISSEO COLLECTIVITES / RTM MARSEILLE / TBM BORDEAUX | 52 | .25
    """,
    "loisirs": """
        Basic-Fit | BASIC FIT; BASIC-FIT FRANCE / FITNESS PARK / KEEPCOOL / L ORANGE BLEUE | 28 | .25
        UGC | UGC ILLIMITE / PATHE CINEPASS | 23 | .1
        US Basket | US BASKET / ASS SPORTIVE / JUDO CLUB / CONSERVATOIRE / ECOLE DE DANSE / TENNIS CLUB | 35 | .5
    """,
    "enfants": """
        Cantine | REGIE CANTINE; TRESOR PUBLIC CANTINE; VILLE REGIE SCOLAIRE; CAISSE DES ECOLES / PAJEMPLOI | 78 | .6
        Crèche | CRECHE LES LUTINS / BABILOU / PEOPLE AND BABY / LES PETITS CHAPERONS | 310 | .4
        OGEC | OGEC ST JOSEPH; OGEC / ECOLE NOTRE DAME / LYCEE PRIVE ST PAUL | 120 | .4
    """,
    "impots": """
        Trésorerie | TRESOR PUBLIC; TRESORERIE MUNICIPALE / DDFIP TAXE FONCIERE / ORDURES MENAGERES / URSSAF | 110 | .6
        DGFiP | DIRECTION GENERALE DES FINANCES PUBLIQUES; DGFIP; DGFIP IMPOT; DRFIP; IMPOT REVENU DGFIP | 165 | .8
    """,
}  # fmt: skip


@dataclass(frozen=True)
class Merchant:
    """Someone paid: canonical name, how statements write it, price level, and whether a city follows the name.

    `median` is in EUR; `spread` is the standard deviation of the logarithm of an amount; `cents` is "any", "99", "50"
    or "00".
    """

    name: str
    category: str
    written: tuple[str, ...]
    median: float
    spread: float
    cents: str = "any"
    local: bool = True


@cache
def chains() -> dict[str, tuple[Merchant, ...]]:
    """Return the chains of each category that is paid by card."""
    return {category: _parse(category, lines) for category, lines in CHAINS.items()}


@cache
def contracts() -> dict[str, tuple[Merchant, ...]]:
    """Return who is paid by contract, per category."""
    return {category: _parse(category, lines) for category, lines in CONTRACTS.items()}


def _parse(category: str, lines: str) -> tuple[Merchant, ...]:
    merchants = []
    for line in lines.strip().splitlines():
        name, written, median, spread, *cents = (part.strip() for part in line.split("|"))
        for number, brand in enumerate(written.split(" / ")):
            ways = tuple(way.strip() for way in brand.split(";"))
            online = any(mark in brand.lower() for mark in (".com", ".fr", "*", "amazon", "paypal"))
            merchants.append(
                Merchant(
                    name=ways[0].title() if number else name,
                    category=category,
                    written=ways,
                    median=float(median),
                    spread=float(spread),
                    cents=cents[0] if cents else "any",
                    local=not online,
                )
            )
    return tuple(merchants)
