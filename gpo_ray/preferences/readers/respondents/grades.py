"""Whether labels are grades of one quality, or lie between two opposites: a rule for any quality.

Every language grades a quality with a few adverbs ("very", "fairly", "not very", "not at all"; "sehr",
"eher", "kaum", "gar nicht"), whatever the quality is: proud, worried, free and fair. Without its adverb,
a label on such a scale is the quality that the others name too, or its opposite: a pair that is known
(better, worse) or the same word with a prefix (justa, injusta). The labels make a scale if the adverbs go
one way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gpo_ray.preferences.readers.respondents.words import plain

_GRADES: tuple[tuple[str, float], ...] = (
    (
        r"(?:not|nt|dont|doesnt|never)(?: \w+)*? at all|no \w+ at all|none(?: at all)?|gar (?:nicht|"
        r"kein\w*)|"
        r"uberhaupt (?:nicht|kein\w*)|pas(?: \w+)* du tout|aucune?|nada(?: de)?|ningun[oa]?|en absoluto|"
        r"per (?:niente|nulla)|nessun[oa]?|helemaal (?:niet|geen)|inte(?: \w+)? alls|"
        r"ing[ea]n?t?(?: \w+)? alls|"
        r"slet ikke|ikke(?: \w+)*? i det hele tatt|overhodet ikke|wcale(?: nie)?|совсем не\w*|вообще не|hic|"
        r"de modo nenhum|nenhuma?|nothing",
        -3.0,
    ),
    (r"raczej nie|nie bardzo|скорее не", -1.0),
    (r"not (?:so |very )?strongly|nicht (?:so )?stark\b(?! )|pas fortement", 1.0),
    (
        r"(?:almost|nearly|hardly|practically) never|hardly ever|fast nie|presque jamais|casi nunca|"
        r"quasi mai|"
        r"nastan aldrig|nesten aldri|bijna nooit|hardly\b.* at all",
        -2.5,
    ),
    (r"never|nie|niemals|jamais|nunca|mai|nooit|aldrig|aldri|nigdy|никогда", -3.0),
    (r"rarely|seldom|selten|rarement|rara vez|raramente|zelden|sallan|sjelden|sjaeldent|rzadko", -1.0),
    (r"(?:but )?with (?:only )?(?:a few )?minor (?:problems|difficulties|reservations)", 1.5),
    (
        r"(?:only |just )?(?:a (?:little|bit)(?: bit)?|slightly)|un (?:petit )?peu|ein (?:wenig|bisschen)|"
        r"un poc[oa]|un po|um pouco|een beetje|litt|lidt|(?:but )?with (?:some )?major (?:problems|"
        r"difficulties|"
        r"reservations)|"
        r"to a (?:small|limited|minor) extent|minor|(?:just )?once or twice|en liten bit",
        0.5,
    ),
    (
        r"(?:not|dont|doesnt)(?: \w+)? (?:very|too|so|particularly|especially|really|much|many|that)"
        r"(?: much| many| well| often)?|nicht (?:sehr|so|besonders|wirklich)|eher nicht|"
        r"pas (?:tres|vraiment|trop|tellement)|plutot pas|no (?:muy|mucho|tanto?)|"
        r"non (?:molto|tanto|particolarmente)|nao muito|niet (?:erg|zo|zeer|echt)|"
        r"inte (?:sarskilt|sa|speciellt)|ikke (?:saerlig|saerligt|sa|spesielt)|nie bardzo|raczej nie|"
        r"не очень|скорее не|hardly|barely|kaum|(?:very )?(?:little|few)|a few|weinig|wenig|"
        r"(?:tres )?peu|poc[oa]s?|pouc[oa]|knappast|neppe|malo|lite",
        -1.0,
    ),
    (
        r"(?:almost|nearly|just about) always|fast immer|presque toujours|casi siempre|quasi sempre|"
        r"nastan alltid",
        2.8,
    ),
    (
        r"most of the time|mostly|usually|generally|meistens|la plupart du temps|generalmente|"
        r"la mayoria de las veces|oftast|in most|most|many times",
        2.5,
    ),
    (
        r"^(?:absolutely )?essential$|extremely|complete|completely|totally|absolutely|absolut|absolutt|"
        r"fully|full|"
        r"entirely|ausserst|voll(?: und ganz)?|vollig|"
        r"voellig|vollstandig|vollkommen|tout a fait|totalement|completement|entierement|"
        r"completamente|totalmente|absolutamente|plenamente|del tutto|assolutamente|helemaal|volledig|"
        r"helt|fullstandigt|calkowicie|zdecydowanie|полностью|совершенно|in all|all|every",
        4.0,
    ),
    (
        r"(?:far|much|way) (?=too\b)|viel (?=zu\b)|beaucoup (?=trop\b)|very(?: much)?|strongly|"
        r"definitely|certainly|greatly|substantially|considerably|significantly|drastically|(?:a "
        r")?great(?: deal| extent)?|a lot|lots|much|many|"
        r"always|to a (?:large|great|high|considerable) extent|major|sehr(?: viel)?|viel|wesentlich|"
        r"deutlich|"
        r"bestimmt|immer|tres|fortement|beaucoup|certainement|toujours|enormement|"
        r"mu(?:y|ch[oa]s?)|siempre|fuertemente|molto|molti|sempre|muit[oa]s?|zeer|heel|veel|altijd|sterk|"
        r"mycket|valdigt|alltid|starkt|meget|veldig|mye|svaert|bardzo|duzo|очень|много|cok",
        3.0,
    ),
    (
        r"quite(?: a (?:lot|bit))?|fairly|pretty|rather|moderately|ziemlich|assez|plutot|bastante|"
        r"abbastanza|"
        r"piuttosto|tamelijk|redelijk|ganska|ganske|nokso|relativt|dosc|"
        r"often|oft|souvent|a menudo|spesso|ofta|ofte|several times",
        1.5,
    ),
    (
        r"somewhat|some|sometimes|mildly|partly|some of the time|only some of the time|"
        r"(?:only )?to (?:some|a certain|a moderate|a medium|a) (?:medium |moderate )?extent|eher|etwas|"
        r"teilweise|manchmal|parfois|algo|a veces|mas bien|un tanto|qualche volta|enigszins|eerder|soms|"
        r"delvis|noe|ibland|en del|raczej|troche|скорее|biraz|probably|probablement|probablemente|"
        r"maybe|perhaps|vielleicht|peut etre|tal vez|quizas?|forse|talvez|misschien|kanske|kanskje|maske",
        1.0,
    ),
    (r"not|no|nicht|kein\w*|pas|non|nao|niet|geen|inte|ikke|ingen|inga|nie|не|нет|isnt|cant|cannot", -2.0),
)
"""Adverbs and how far each goes; those further up are looked for first, for they hold words of others."""
_COMPILED = tuple((re.compile(rf"\b(?:{words})\b"), grade) for words, grade in _GRADES)

_MIDDLE = re.compile(
    r"neither\b.*|neutral\w*|(?:\w+ )*(?:about |almost )?the same\b.*|same|unchanged|"
    r"(?:\w+ )*no (?:\w+ )?(?:change|difference|effect|impact)|"
    r"massig\w*|moderat\w*|"
    r"about (?:right|just|fair)\b.*|(?:keep|leave|remain|stay)\b.*\b(?:now|same|are|is)\b.*|would not care|"
    r"(?:dont|wouldnt) (?:care|mind)|half\b.*|about half\b.*|average|mittel\w*|medium|moderate|weder\b.*|"
    r"teils\b.*|gleich\w*|(?:un|nicht )verandert|zufriedenstellend|befriedigend|fair|ni\b.*|"
    r"(?:le|la) meme\b.*|sans changement|pareil\w*|n a pas change|igual|lo mismo\b.*|"
    r"(?:esta )?estancad[oa]|"
    r"maintain\w*|continue\w*|beibehalten|maintenir|mantener\w*|mantenere|manter|behouden|behalla|beholde|"
    r"regular|ne\b.*ne\b.*|uguale|lo stesso|nem\b.*|o mesmo|noch\b.*|hetzelfde|gelijk|varken\b.*|"
    r"hverken\b.*|samma|oforandra\w*|ani\b.*|bez zmian|ни\b.*|так же|not too .* (?:or|nor) too .*|"
    r"(?:\w+ ){0,4}(?:unchanged|stable|unverandert|gleich|gleichgeblieben|(?:le|la|au) meme|pareil\w*|"
    r"identique\w*|inchangee?s?|igual|iguales|estable|sin cambios?|lo mismo|uguale?|invariat\w|stabile|"
    r"sem (?:mudanca|alteracao)s?|estavel|(?:o|a) mesm[oa]|gelijk|hetzelfde|onveranderd|stabiel|"
    r"oforandra\w*|likadan\w*|uendret|uforandret|tak samo)(?: \w+)?"
)
_OPPOSITES: tuple[tuple[str, str], ...] = (
    (
        r"more|increas\w+|higher|high|larger|large|bigger|big|greater|stronger|expand\w*|grow\w*|"
        r"rais\w+|mehr|"
        r"hoher|hoch|grosser|gross\w*|starker|zugenommen|steig\w*|plus|augment\w+|mas|aument\w+|mayor|"
        r"alt[oa]|"
        r"piu|maggiore|mais|maior|meer|hoger|mer|mere|okat?|storre|stort?|stora|hog\w*|wiecej|больше",
        r"less|decreas\w+|lower|low|smaller|small|fewer|reduc\w+|weaker|cut|shrink\w*|weniger|niedriger|"
        r"klein\w*|schwacher|abgenommen|sink\w*|gering\w*|moins|diminu\w+|menos|disminu\w+|menor|"
        r"baj[oa]|meno|"
        r"minore|minder|lager|mindre|minskat?|lite[nt]|litet|sma|lag\w*|mniej|меньше",
    ),
    (
        r"better|improv\w+|best|good|well|excellent|besser\w*|verbesser\w+|gut\w*|mieux|amelior\w+|"
        r"bon(?:ne)?s?|bien|mejor\w*|buen[oa]s?|progres\w*|meglio|miglior\w+|buon[oa]|bene|melhor\w*|"
        r"bo[am]|bem|beter|verbeterd|goed\w*|battre|bedre|bra|god\w*|lepiej|dobr\w+|лучше|хорош\w*",
        r"worse|worst|deteriorat\w+|bad|badly|poor|poorly|schlecht\w*|verschlechter\w+|pire|pis|mal|"
        r"deterior\w+|mauvais\w*|peor\w*|empeor\w*|mal[oa]s?|retroces\w*|peggio\w*|cattiv\w+|male|pior\w*|"
        r"ma|mau|slechte?r?|verslechterd|samre|darlig\w*|dalig\w*|gorzej|zl[eya]|хуже|плох\w*",
    ),
    (
        r"helped|help|helps|benefit\w*|beneficial|aide\w*|ayud\w+|hilft|hilfreich",
        r"hurt|hurts|harm\w*|damag\w*|nuit|nuisible|perjudic\w+|schad\w+",
    ),
    (r"legal", r"illegal"),
    (r"like|likes|mag|aime", r"dislike|dislikes|deteste"),
    (
        r"support\w*|favou?r|pro|for|befurwort\w*|dafur",
        r"oppos\w*|against|anti|contra|mot|imod|emot|ablehn\w*|dagegen",
    ),
    (r"approv\w*|accept\w*|agree\w*", r"disapprov\w*|reject\w*|disagree\w*"),
    (r"safe|secure|sicher", r"dangerous|unsafe|insecure|unsicher"),
    (
        r"strict\w*|harsh\w*|tough\w*|streng\w*|sever\w+",
        r"lenient\w*|soft\w*|lax|mild\w*|nachsichtig\w*|"
        r"indulgent\w*",
    ),
    (
        r"strong\w*|stark\w*|fort\w*|fuerte\w*|forte|sterk\w*",
        r"weak\w*|schwach\w*|faible\w*|debil\w*|"
        r"debole|zwak\w*|svag\w*|svak\w*",
    ),
    (r"easy|easier|leicht\w*|facile?s?|facil", r"difficult|hard|harder|schwer\w*|schwierig\w*|dificil"),
    (r"warm|warmer", r"cold|colder"),
    (r"fast|faster|quick\w*", r"slow|slower|slowly"),
    (r"true|right|correct|richtig|vrai|verdad\w*", r"false|wrong|incorrect|falsch|faux|falso"),
    (r"trusted|trust", r"careful|distrust|mistrust"),
    (r"close|closer|near", r"distant|far"),
    (r"many|most|viele", r"few|wenige"),
    (r"optimist\w*|hopeful", r"pessimist\w*|hopeless"),
    (
        r"allow\w*|permit\w*|autoris\w+|permit\w*|erlaub\w*",
        r"forbid\w*|prohibit\w*|ban|banned|interdi\w+|verb\w+ten",
    ),
    (r"important\w*|essential", r"unimportant\w*|irrelevant"),
    (
        r"contente?s?|zufrieden|satisf\w+|nojd|tevreden",
        r"mecontente?s?|unzufrieden|dissatisf\w+|missnojd|ontevreden",
    ),
    (r"optimiste?s?|heureu\w+|glucklich", r"pessimiste?s?|malheureu\w+|unglucklich"),
)
_PAIRS = tuple((re.compile(a), re.compile(b)) for a, b in _OPPOSITES)
_PREFIXES = (
    "un",
    "in",
    "im",
    "il",
    "ir",
    "dis",
    "mis",
    "non",
    "des",
    "de",
    "on",
    "o",
    "u",
    "nie",
    "не",
    "mal",
)
_YES = re.compile(r"(?:yes|ja|oui|si|sim|tak|да|evet|absolutely)\b")
_NO = re.compile(r"(?:no|nein|non|nao|nee|nej|nei|nie|нет|hayir)\b")
_FILLING = """
a an the of in to is are it i be been do does did would will feel and than that there they were was so too
for with as or on at by my me we our have has can der die das und zu im ist es ich le la les l un une de
du des d est et en el los las lo y con que il gli e di o os um uma het een van och att det den om ett som
jag si se s got gotten become became stay stayed just only about all but cases case people you
"""
_FILLERS = frozenset(_FILLING.split())

_LESS_OF_IT = re.compile(r"^(?:less|weniger|moins|menos|meno|mindre|minder)(?= (?!than|als|que|di|an)\w)")
"""A comparative that says hardly where it stands before the quality: "weniger schlimm"."""


@dataclass(frozen=True)
class _Graded:
    """A label divided into its grade and the words that are left."""

    grade: float
    """2 where no adverb is there."""
    adverb: bool
    words: tuple[str, ...]


def make_a_scale(forms: Sequence[str]) -> bool:
    """Return whether labels in their plain form go one way between a quality and none of it, or its opposite.

    Args:
        forms: at least 3 labels, in the order of their codes; fewer make no scale here.
    """
    if len(forms) < 3:
        return False
    return any(_goes_one_way(places) for places in gradings(forms))


def gradings(forms: Sequence[str]) -> list[list[float | None]]:
    """Return the places of at least 3 labels in their plain form on each scale that they may make."""
    if len(forms) < 3:
        return []
    forms = [_spelled(form) for form in forms]
    less = [_LESS_OF_IT.sub("hardly", form) for form in forms]
    return [*_places(forms), *(_places(less) if less != forms else [])]


def is_middle(label: str) -> bool:
    """Return whether a label is in the middle between two opposites: "About the same"."""
    return _MIDDLE.fullmatch(plain(label)) is not None


def _places(forms: Sequence[str]) -> list[list[float | None]]:
    graded = [None if _MIDDLE.fullmatch(form) else _divided(form) for form in forms]
    between = [_between(graded, pair) for pair in (*_PAIRS, *_prefixed(graded))]
    return [_answers(forms), _of_one_quality(graded), *between, _between_poles(forms)]


def _between_poles(forms: Sequence[str]) -> list[float | None]:
    """Return the places of labels that grade one of two statements each: "A is much more important than B".

    What a statement says is not known, but its words are the same in the labels of its side.
    """
    places: list[float | None] = []
    poles: list[tuple[str, ...]] = []
    for form in forms:
        if _MIDDLE.fullmatch(form) or _EVEN.fullmatch(form):
            places.append(0.0)
            continue
        grade, pole = _graded_pole(form)
        if not pole:
            return [None]
        if pole not in poles:
            poles.append(pole)
        places.append(grade if pole == poles[0] else -grade)
    known = [p for p in places if p is not None]
    sides = [sum(p > 0 for p in known), sum(p < 0 for p in known)]
    return places if len(poles) == 2 and min(sides) and max(sides) > 1 else [None]


def _graded_pole(form: str) -> tuple[float, tuple[str, ...]]:
    """Return how strongly a label says something, and the words of what it says, with what denies it."""
    grades = []
    for pattern, grade in _COMPILED:
        if grade > 0 and pattern.search(form):
            grades.append(grade)
            form = pattern.sub(" ", form)
    return max(grades, default=2.0) if 1.0 not in grades else 1.0, tuple(form.split())


_EVEN = re.compile(
    r"(?:\w+ ){0,2}(?:both|equally|depends|neither|balance|balanced|middle|unsure|undecided|beides|gleich|"
    r"gleichermassen|"
    r"kommt darauf an|les deux|autant|egalement|ambos|depende|igual\w*|entrambi|dipende|beide|evenveel|lika|"
    r"like)\b.*"
)
"""Labels for neither of two statements, or both."""


def _spelled(form: str) -> str:
    """Return a form with German umlauts that are written with an e as other forms have them."""
    return re.sub(r"(?<![aeq])([aou])e(?=berhaupt|llig|sser|hn|cht|fig|rk|ch)", r"\1", form)


def _divided(form: str) -> _Graded:
    for pattern, grade in _COMPILED:
        found = pattern.search(form)
        if found:
            rest = f"{form[: found.start()]} {form[found.end() :]}"
            return _Graded(grade, True, _words(rest))
    return _Graded(2.0, False, _words(form))


def _words(form: str) -> tuple[str, ...]:
    for pattern, _ in _COMPILED:
        form = pattern.sub(" ", form) if form.strip() else form
    return tuple(w for w in form.split() if w not in _FILLERS)


def _answers(forms: Sequence[str]) -> list[float | None]:
    """Return the places of answers that begin with yes or no: "Yes, definitely", "No, not really"."""
    places: list[float | None] = []
    for form in forms:
        yes, no = _YES.match(form), _NO.match(form)
        sign, rest = (1, form[yes.end() :]) if yes else (-1, form[no.end() :]) if no else (0, "")
        if sign == 0:
            places.append(0.0 if _MIDDLE.fullmatch(form) else None)
            continue
        graded = _divided(rest.strip())
        strength = 2.5 if graded.grade == -2.0 else abs(graded.grade)
        places.append(sign * strength)
    known = [p for p in places if p is not None]
    return places if known and min(known) < 0 < max(known) else [None]


def _of_one_quality(graded: Sequence[_Graded | None]) -> list[float | None]:
    """Return the grades of labels that all name the same quality, or are an adverb alone."""
    known = [g for g in graded if g is not None]
    if sum(g.adverb for g in known) < 2 or not _nested([g.words for g in known if g.grade != -2.5]):
        return [None]
    if any(not g.adverb and not g.words for g in known):
        return [None]
    return [0.0 if g is None else g.grade for g in graded]


def _nested(several: Sequence[Sequence[str]]) -> bool:
    """Return whether the words of labels are some of those of the longest, and all share one."""
    sets = [{*words} for words in several if words]
    if not sets:
        return True
    return all(s <= max(sets, key=len) for s in sets) and bool(set.intersection(*sets))


def _between(
    graded: Sequence[_Graded | None], pair: tuple[re.Pattern[str], re.Pattern[str]]
) -> list[float | None]:
    """Return the places of labels between two opposites."""
    places: list[float | None] = []
    rests: list[set[str]] = []
    for g in graded:
        if g is None:
            places.append(0.0)
            continue
        sides = {side for w in g.words for side, end in ((1, pair[0]), (-1, pair[1])) if end.fullmatch(w)}
        if len(sides) != 1:
            return [None]
        places.append(sides.pop() * g.grade)
        rests.append(
            {w for w in g.words if not any(a.fullmatch(w) or b.fullmatch(w) for a, b in (*_PAIRS, pair))}
        )
    longest = max(rests, key=len, default=set())
    if not all(rest <= longest for rest in rests):
        return [None]
    known = [p for p in places if p is not None]
    return places if min(known) < 0 < max(known) else [None]


def _prefixed(graded: Sequence[_Graded | None]) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """Return the pairs of a word and the same word with a prefix that makes it its opposite."""
    words = {w for g in graded if g is not None for w in g.words}
    return [
        (re.compile(re.escape(w)), re.compile(re.escape(prefix + w)))
        for w in sorted(words)
        for prefix in _PREFIXES
        if len(w) > 2 and prefix + w in words
    ]


def _goes_one_way(places: Sequence[float | None]) -> bool:
    if len(places) < 2 or any(p is None for p in places):
        return False
    steps = [b - a for a, b in pairwise(p for p in places if p is not None)]
    return all(s > 0 for s in steps) or all(s < 0 for s in steps)
