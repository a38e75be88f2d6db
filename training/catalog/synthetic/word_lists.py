"""What an invented French shop sells: for each of 27 product codes, words that make up titles and descriptions.

The codes are the challenge's; the words are made up for this project and come from no catalogue. Neighbouring codes
share nouns on purpose (a book is a book whether old, new or a magazine), so that the words around them have to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """One product code.

    Attributes
    ----------
    share
        How often it is met, relative to the others.
    empty
        Share of its products without a description.
    style
        How its titles are built, see `training.catalog.synthetic.listings`.
    nouns, more
        What is sold, and what is said of it in titles; separated by commas.
    french
        What its descriptions speak of.
    foreign
        The same in English, German and Spanish.
    near
        Codes whose words it may borrow.
    """

    share: float
    empty: float
    style: str
    nouns: tuple[str, ...]
    more: tuple[str, ...]
    french: tuple[str, ...]
    foreign: tuple[str, ...]
    near: tuple[str, ...]


def _kind(share: float, empty: float, style: str, near: str, *words: str) -> Kind:
    nouns, more, french, foreign = (tuple(one.strip() for one in part.split(",")) for part in words)
    return Kind(share, empty, style, nouns, more, french, foreign, tuple(near.split()))


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


KINDS: Final[Mapping[str, Kind]] = {
    "10": _kind(
        3.6, 0.85, "old book", "2403 2705 2280",
        "livre, traité, recueil, mémoire, grammaire, étude, manuel, atlas",
        "ancien, relié, broché, édition originale, langue étrangère, université, doctorat",
        "thèse, auteur, chapitre, volume, couverture usée, pages jaunies, latin, savant, imprimeur, exemplaire",
        "handbook, lectures, geschichte, einführung, estudio, tratado", ),
    "2403": _kind(
        5.6, 0.68, "books", "10 2705 2280",
        "lot de livres, collection, encyclopédie, tomes, coffret, livres de poche, bandes dessinées, intégrale",
        "complet, reliés, tome 1 à 6, plusieurs auteurs, vendus ensemble, histoire, bibliothèque",
        "volumes, série, rayonnage, tranche, jaquette, collectionneur, éditeur, ensemble, illustré",
        "books, set of novels, sammlung, bücher, enciclopedia, libros", ),
    "2705": _kind(
        3.2, 0.22, "new book", "10 2403 2280",
        "roman, livre, guide, essai, récit, nouvelle, poésie, album",
        "broché, neuf, tome 2, poche, prix littéraire, illustré, jeunesse",
        "personnage, intrigue, destin, lecteur, amour, enquête, auteur, secret, famille, siècle, voyage, mémoire",
        "novel, story, roman, erzählung, novela, cuento", ),
    "2280": _kind(
        5.6, 0.62, "magazine", "2403 10 2705",
        "revue, magazine, journal, hebdomadaire, numéro, bulletin, gazette, mensuel",
        "du mois, politique, mode, guerre, théâtre, sport, télévision, hors série",
        "article, rédaction, couverture, dossier, entretien, reportage, kiosque, numéro, page centrale",
        "issue, weekly, zeitschrift, heft, revista, semanal", ),
    "40": _kind(
        3.2, 0.4, "game", "2462 2905 60 50",
        "jeu vidéo, jeu console, jeu de rôle, jeu de course, jeu de tir, cartouche",
        "import, version japonaise, édition limitée, anglais, complet, notice",
        "joueur, niveau, manette, aventure, mission, graphismes, multijoueur, boîtier, console, héros",
        "video game, import version, spiel, konsole, videojuego", ),
    "50": _kind(
        2.1, 0.2, "thing", "40 60 1300",
        "manette, casque, chargeur, câble, housse, volant, haut parleur, écouteurs, station de charge",
        "sans fil, bluetooth, pour console, gamer, rétroéclairé, usb, antidérapant",
        "connexion, batterie, compatible, vibration, boutons, adaptateur, prise, autonomie, micro, signal",
        "controller, headset, ladegerät, kabel, mando, auriculares", ),
    "60": _kind(
        0.95, 0.1, "thing", "40 2462 1281",
        "console, console portable, console rétro, borne d'arcade, mini console",
        "rétro, écran 3 pouces, 400 jeux intégrés, portable, salon, pack",
        "écran, jeux classiques, manettes fournies, sortie vidéo, rechargeable, mémoire, nostalgie, famille",
        "handheld console, retro player, spielkonsole, consola portátil", ),
    "2462": _kind(
        1.6, 0.62, "games", "40 60 2905",
        "lot de jeux, console, pack console, jeux, lot jeux vidéo, manettes",
        "occasion, avec jeux, testé, complet, très bon état, voir photos, 12 jeux",
        "fonctionne, câbles, état, boîtes, notices, testée, vendue, collection, manquant",
        "bundle of games, used console, spielesammlung, lote de juegos", ),
    "2905": _kind(
        1.0, 0.0, "download", "40 2462",
        "jeu en téléchargement, extension, contenu additionnel, jeu pc, saison",
        "téléchargement, clé, édition deluxe, jeu indépendant, stratégie, simulation",
        "activation, plateforme, configuration requise, processeur, carte graphique, compte, mise à jour, campagne",
        "download, season pass, erweiterung, descarga", ),
    "1140": _kind(
        3.1, 0.4, "figure", "1180 1280 1160",
        "figurine, statue, mug, porte clés, badge, poster, peluche, réplique, tirelire",
        "sous licence, manga, série télé, film, 18 cm, collector, super héros",
        "licence officielle, personnage, détaillée, socle, fan, pvc, univers, cadeau, boîte fenêtre",
        "figure, action statue, sammlerfigur, llavero", ),
    "1160": _kind(
        4.6, 0.58, "card", "1140 1180",
        "carte, booster, carte à jouer, carte rare, classeur, deck",
        "commune, rare, brillante, version française, holo, édition 1, reverse",
        "attaque, points de vie, extension, monstre, état neuf, collection, énergie, échange",
        "trading card, foil, sammelkarte, carta", ),
    "1180": _kind(
        1.0, 0.58, "figure", "1140 1281 1160",
        "figurine à peindre, armée, jeu de figurines, escouade, dés, plateau, socle, jeu de plateau",
        "plomb, fantastique, chevalier, sous couche, stratégie, lot, orque",
        "peindre, bataille, régiment, métal, règles, unité, plastique, héros, campagne, montée",
        "miniature, battle game, zinnfigur, miniatura", ),
    "1280": _kind(
        5.8, 0.17, "toy", "1281 1300 1302 1140 1320",
        "poupée, jouet, peluche, doudou, voiture miniature, puzzle, dînette, figurine, camion",
        "enfant, fille, garçon, bois, 3 ans, éveil, musical, princesse",
        "imagination, enfants, jouer, doux, cadeau, âge, motricité, couleurs vives, lavable, histoire",
        "doll, plush toy, spielzeug, kuscheltier, muñeca, juguete", ),
    "1281": _kind(
        2.5, 0.18, "toy", "1280 1302 1180",
        "jeu de société, jeu, puzzle, jeu de cartes, cube, loto, jeu éducatif, jouet",
        "famille, 2 à 6 joueurs, réflexion, éducatif, enfant, magnétique, voyage",
        "règles, plateau, pions, partie, logique, joueurs, apprendre, mémoire, dé, équipe",
        "board game, brettspiel, rätsel, juego de mesa", ),
    "1300": _kind(
        6.0, 0.19, "part", "1280 50 1302",
        "drone, voiture télécommandée, hélice, batterie, hélicoptère, servo, moteur, châssis, pneus, maquette",
        "télécommandé, 4 canaux, sans balais, échelle 1/10, pièce de rechange, aluminium, caméra",
        "quadricoptère, radiocommande, vol, modélisme, moteur, remplacement, portée, fréquence, stabilisation",
        "quadcopter, propeller, ersatzteil, rennwagen, hélice de repuesto", ),
    "1301": _kind(
        0.95, 0.04, "clothes", "1320 1302 1280",
        "chaussettes, collants, bas, paire de chaussettes, chaussons, body",
        "bébé, coton, fille, antidérapantes, hiver, dentelle, rayures",
        "coton doux, respirant, pointure, élastique, pieds, confortable, naissance, tricot",
        "baby socks, tights, kindersocken, calcetines", ),
    "1302": _kind(
        2.9, 0.09, "toy", "1280 1281 1300 2582",
        "trampoline, balle, ballon, pistolet à eau, toboggan, trottinette, cerf volant, balançoire, slime",
        "plein air, enfant, anti stress, gonflable, filet, sport, diamètre 305 cm",
        "sauter, extérieur, sécurité, jardin, montage, mousse, détente, résistant, lancer, poids maximum",
        "outdoor toy, squeeze ball, hüpfburg, pelota", ),
    "1320": _kind(
        3.8, 0.22, "thing", "1301 1280 2060",
        "poussette, biberon, sac à langer, siège auto, matelas à langer, bavoir, tétine, thermomètre, lit bébé",
        "bébé, naissance, sans bpa, réglable, imperméable, nomade, groupe 1",
        "maman, nourrisson, tétée, sécurité, parents, lavable, puériculture, sommeil, harnais, ergonomique",
        "baby carrier, stroller, wickeltasche, cochecito", ),
    "1560": _kind(
        6.2, 0.03, "furniture", "1920 2060 2582",
        "table, chaise, armoire, lit, matelas, étagère, commode, canapé, couteau de cuisine, tabouret, bureau",
        "bois massif, chêne, design, 140x190, tiroirs, blanc laqué, pliante, cuisine",
        "dimensions, mobilier, montage, rangement, panneaux, densité, assise, plateau, pieds, charge maximale",
        "coffee table, wooden shelf, kleiderschrank, estantería", ),
    "1920": _kind(
        4.6, 0.03, "home", "1560 2060",
        "housse de coussin, taie d'oreiller, coussin, plaid, couverture, parure de lit, rideau, drap",
        "coton, lin, 45x45, canapé, motif, noël, polyester",
        "tissu, fermeture éclair, lavage, doux, imprimé, décoration, chambre, housse seulement, rembourrage",
        "cushion cover, pillow case, kissenbezug, funda de almohada", ),
    "1940": _kind(
        1.0, 0.05, "food", "2220",
        "bonbons, café, thé, épices, chocolat, huile d'olive, biscuits, sirop, foie gras",
        "bio, 250 g, sachet, lot de 6, artisanal, équitable, coffret gourmand",
        "saveur, ingrédients, recette, arôme, conservation, dégustation, sucre, goût, origine, gourmand",
        "candy, ground coffee, gewürz, galletas", ),
    "2060": _kind(
        5.0, 0.03, "home", "1560 1920 2582 2522",
        "lampe, guirlande, vase, cadre, sticker mural, horloge, bougie, peinture diamant, applique, tapis",
        "décoration, led, mural, fête, salon, mariage, cristal",
        "ampoule, ambiance, décor, lumière, fixation, maison, mur, strass, éclairage, cérémonie",
        "wall lamp, fairy lights, wanduhr, lámpara", ),
    "2220": _kind(
        0.97, 0.03, "thing", "1320 1940",
        "collier, laisse, panier, litière, gamelle, manteau, jouet, harnais, distributeur",
        "pour chien, pour chat, animaux, taille M, réglable, aquarium",
        "chien, animal, compagnon, poils, dressage, promenade, griffes, croquettes, museau, race",
        "dog collar, cat litter, hundeleine, correa", ),
    "2522": _kind(
        5.9, 0.16, "office", "2060 2403",
        "carnet, cahier, stylo, classeur, bloc notes, agenda, crayons, enveloppes, papier, trousse",
        "a4, 96 pages, spirale, grands carreaux, lot de 10, bleu, couverture rigide",
        "écriture, feuilles, bureau, école, encre, réglure, fournitures, marges, personnalisé, journal intime",
        "notebook, ballpoint pen, schreibheft, cuaderno", ),
    "2582": _kind(
        3.2, 0.02, "garden", "2583 2585 1560 2060",
        "parasol, salon de jardin, tonnelle, barbecue, pot de fleurs, hamac, lampe solaire, transat, serre",
        "jardin, terrasse, extérieur, résine tressée, aluminium, 3x3 m, camping",
        "imperméable, soleil, toile, balcon, piquets, pergola, gazon, structure, plein air, housse de protection",
        "garden chair, gazebo, sonnenschirm, tumbona", ),
    "2583": _kind(
        12.0, 0.045, "pool", "2582 2585",
        "piscine, bâche à bulles, liner, pompe de filtration, échelle, robot de piscine, skimmer, filtre, sauna",
        "hors sol, pvc, ronde, 50 mm, pour bassin, ø 3,60 m, raccord",
        "bassin, eau, baignade, filtration, margelle, chlore, hivernage, débit, refoulement, étanche, kit complet",
        "pool cover, filter pump, poolfolie, depuradora", ),
    "2585": _kind(
        3.2, 0.055, "tool", "2583 2582 1560",
        "tondeuse, clé, perceuse, tuyau, raccord, scie, lame, arrosage, taille haie, tournevis, pompe",
        "électrique, 18 v, acier, diamètre 16, filetage, pièce de rechange, professionnel",
        "outil, moteur, couple, fixation, bricolage, vis, coupe, mètres, arroser, chantier, compatible modèle",
        "lawn mower, drill bit, gartenschlauch, destornillador", ),
}  # fmt: skip

COLOURS: Final = _split("noir blanc rouge bleu vert jaune rose gris marron violet orange beige doré argenté turquoise")
GENERIC: Final = _split(
    "neuf qualité lot grand petit nouveau moderne classique pratique maison enfant adulte cadeau mini design "
    "professionnel universel pièces ensemble kit pack accessoire vintage français"
)
"""What titles of any code may say."""

FILLER: Final = {
    "fr": _split(
        "ce cette produit est très avec pour une utilisation facile et votre vous de la le les dans qui sera idéal "
        "tous nos article livré rapide garantie qualité matière couleur taille selon photo peut légère différence "
        "poids environ caractéristiques contenu paquet état excellent vendu marque modèle référence disponible"
    ),
    "en": _split(
        "the this product is very with for easy use and your you of in which will be perfect all our item shipped "
        "fast quality material colour size please allow slight difference package includes condition great"
    ),
    "de": _split(
        "das dieses produkt ist sehr mit für einfache und ihr sie von der die in perfekt alle unsere artikel schnell "
        "qualität material farbe größe bitte kleine abweichung lieferumfang zustand gut"
    ),
    "es": _split(
        "el este producto es muy con para fácil uso y su usted de la en perfecto todos nuestros artículo rápido "
        "calidad material color tamaño por favor ligera diferencia paquete incluye estado bueno"
    ),
}
BOILERPLATE: Final = (
    "Livraison soignée sous 48 heures, retour accepté pendant 14 jours.",
    "Photo non contractuelle. Attention : la couleur peut varier selon votre écran.",
    "Vendu par un particulier, voir photos. N'hésitez pas à poser vos questions.",
    "100% nouveau et de haute qualité. Veuillez permettre 1-3 cm de différence en raison de la mesure manuelle.",
    "Service client à votre écoute du lundi au vendredi.",
)
TITLE_WORDS: Final = _split(
    "ombre jardin nuit rivière silence maison étoile vent pierre enfance lumière guerre roi forêt mer rêve route feu "
    "miroir hiver secret chant ville île promesse dragon royaume légende empire soleil"
)
"""What books, magazines and games are called after."""

SYLLABLES: Final = _split("ba ko ri len mo tra vel zi nor da pic su mar el fi gon lu sta ver ol ta xan bri qua")
"""What names are made of."""
