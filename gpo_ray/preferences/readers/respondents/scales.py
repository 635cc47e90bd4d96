"""Whether the responses of a question are ordered, told from their labels in several languages.

A label has a place on a ladder (how often, how good, how much), or it agrees with something or rejects it,
more or less strongly. Labels in the order of their codes that go one way make a scale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from gpo_ray.preferences.readers.respondents.frequencies import times_a_year
from gpo_ray.preferences.readers.respondents.grades import gradings, make_a_scale
from gpo_ray.preferences.readers.respondents.points import enough, numbered, spelled_out
from gpo_ray.preferences.readers.respondents.words import plain

_LADDERS: dict[str, tuple[str, ...]] = {
    "frequency": (
        r"never|nie|niemals|jamais|nunca|mai|nooit|aldrig|aldri|nigdy|никогда|从不|從不|全くない|ابدا|asla|"
        r"hicbir zaman|"
        r"not in the (?:past|last).*|practically never|(?:almost|hardly) never|hardly ever|almost never",
        r"rarely|seldom|selten|rarement|raramente|rara vez|zelden|sallan|sjelden|sjaeldent|rzadko|редко|"
        r"nadiren|"
        r"less (?:often|frequently).*|less than once a (?:year|month).*|very rarely|once in a while|"
        r"seltener|moins souvent|menos (?:a menudo|frecuente).*|casi nunca|presque jamais|quasi mai|"
        r"quase nunca",
        r"(?:about )?(?:once|1|one time) (?:a|per) year|yearly|annually|several times a year|"
        r"a few times a year|"
        r"only on special.*|einmal im jahr|une fois par an|una vez al ano",
        r"(?:about )?once a month|monthly|(?:once|one) or (?:twice|two).* a month|2 3 times a month|"
        r"two or three times a month|"
        r"a few times a month|several times a month|einmal im monat|une fois par mois|una vez al mes|"
        r"at least once a month",
        r"sometimes|occasionally|now and then|from time to time|manchmal|gelegentlich|ab und zu|parfois|"
        r"de temps en temps|"
        r"a veces|algunas veces|de vez en cuando|a volte|qualche volta|as vezes|soms|ibland|av og til|"
        r"noen ganger|czasami|"
        r"иногда|有时|有時|時々|bazen|some of the time|only now and then|hin und wieder",
        r"about half the time|half (?:of )?the time|(?:about )?once a week|weekly|at least once a week|"
        r"nearly every week|"
        r"once or twice a week|einmal pro woche|une fois par semaine|una vez a la semana",
        r"often|frequently|oft|haufig|souvent|a menudo|con frecuencia|frecuentemente|spesso|"
        r"frequentemente|vaak|ofta|ofte|"
        r"czesto|часто|经常|經常|よく|sik sik|fairly often|quite often|regularly|several times a week|"
        r"a few times a week|"
        r"more than once a week|ziemlich oft|assez souvent|regelmassig|regulierement",
        r"very often|most of the time|usually|mostly|nearly always|almost always|sehr (?:oft|haufig)|"
        r"meistens|tres souvent|"
        r"la plupart du temps|muy a menudo|muy frecuentemente|casi siempre|la mayoria de las veces|"
        r"molto spesso|quasi sempre|"
        r"muito frequentemente|quase sempre|meestal|zeer vaak|mycket ofta|veldig ofte|zazwyczaj|zwykle|"
        r"обычно|daily|every day|"
        r"several times a day|once a day|taglich|jeden tag|tous les jours|todos los dias|almost every day|"
        r"nearly every day",
        r"always|all (?:of )?the time|immer|toujours|siempre|sempre|altijd|alltid|altid|zawsze|всегда|总是|"
        r"總是|いつも|دائما|"
        r"her zaman|every time|staendig|standig|constantly|almost constantly",
    ),
    "quality": (
        r"very (?:bad|poor|badly)|sehr schlecht|tres mauvaise?|tres mal|muy mal[oa]?|pessim[oa]|"
        r"molto male|muito ma?u?|"
        r"zeer slecht|(?:mycket|veldig|svaert|meget) (?:dalig\w*|darlig\w*|dalligt)|bardzo (?:zle|zly|zla)|"
        r"очень плох.*|非常差|terrible|"
        r"extremely bad|cok kotu",
        r"(?:fairly|rather|quite|somewhat)? ?(?:bad|poor|badly)|(?:eher )?schlecht|(?:plutot )?mauvaise?|"
        r"mal[oa]?|cattiv[oa]|ma|"
        r"slecht|dalig|darlig|(?:raczej )?(?:zle|zly|zla)|плох.*|差|kotu",
        r"(?:only )?fair|average|so so|neither good nor bad|acceptable|moderate|ok|passable|teils teils|"
        r"mittelmassig|"
        r"moyenne?|regular|ni bien ni mal|cosi cosi|razoavel|redelijk|v[ae]rken.*|hverken.*|(?:tak sobie|"
        r"srednio)|удовлетворительно|"
        r"普通|一般|weder gut noch schlecht|ni bonne? ni mauvaise?|ni bueno ni malo|mezza|so la la",
        r"(?:fairly|rather|quite|somewhat|pretty)? ?(?:good|well)|(?:eher |ziemlich )?gut|(?:plutot |"
        r"assez )?(?:bonne?|bien)|"
        r"(?:bastante )?(?:buen[oa]|bien)|buon[oa]|bo[am]|goed|bra|god|(?:raczej )?(?:dobrze|dobry|dobra)|"
        r"хорош.*|好|良い|iyi",
        r"very (?:good|well)|sehr gut|tres (?:bonne?|bien)|muy (?:buen[oa]|bien)|molto (?:buon[oa]|bene)|"
        r"muito (?:bo[am]|bem)|"
        r"zeer goed|(?:mycket|veldig|svaert|meget) (?:bra|god\w*)|bardzo (?:dobrze|dobry|dobra)|очень "
        r"хорош.*|非常好|cok iyi",
        r"excellent|ausgezeichnet|hervorragend|excelente|eccellente|ottim[oa]|uitstekend|utmarkt|"
        r"doskonal[aey]|отлично.*|outstanding",
    ),
    "amount": (
        r"(?:none|nothing|no .*)(?: at all)?|not at all|not (?:much|any) at all|gar nicht|uberhaupt nicht|"
        r"gar kein.*|"
        r"uberhaupt kein.*|pas du tout|aucune?(?: .*)?|nada|ningun[oa]?(?: .*)?|nessun[oa]?|per niente|"
        r"per nulla|nenhum[a]?|helemaal (?:niet|geen).*|"
        r"inte alls|ingen(?: alls)?|ikke i det hele tatt|slet ikke|wcale|zadn.*|нисколько|совсем нет|没有|"
        r"全くない|hic",
        r"(?:very|only a)? ?little|not (?:very|too|so) much|a little(?: bit)?|slightly|hardly any|a few|"
        r"(?:sehr )?wenig|kaum|ein wenig|"
        r"(?:un )?peu|pas beaucoup|(?:un )?poc[oa]s?|poch[ie]|pouc[oa]s?|weinig|een beetje|niet veel|lite|"
        r"litt|lidt|"
        r"(?:bardzo )?malo|мало|不太多|az|"
        r"not very well|minor|a minor.*|small|un petit peu",
        r"(?:only )?some|somewhat|a fair amount|a moderate amount|moderate(?:ly)?|to some extent|medium|"
        r"etwas|teilweise|mittel|teils teils|"
        r"moyennement|algo|algun[oa]?|regular|abbastanza|razoavelmente|tamelijk|enigszins|en del|noe|"
        r"troche|немного|一些|biraz|some what|several",
        r"quite a (?:lot|bit)|a good (?:amount|deal)|a lot|much|mostly|ziemlich(?: viel)?|viel|stark|"
        r"assez|beaucoup|bastante|"
        r"much[oa]s?|molt[oaie]|tant[oaie]|muit[oa]s?|veel|mycket|mye|meget|duzo|много|很多|cok|fairly|rather|"
        r"considerabl[ey]|"
        r"large|a major.*|major|many",
        r"a great deal|very much|a very great deal|extremely|completely|entirely|totally|all|everything|"
        r"sehr (?:viel|stark)|"
        r"voll und ganz|vollig|enormement|tout|tout a fait|complete?ment|completamente|totalmente|"
        r"muchisim[oa]s?|moltissim[oaie]|muitissim[oa]s?|tantissim[oaie]|"
        r"heel veel|helemaal|valdigt mycket|svaert mye|bardzo duzo|очень много|非常多|pek cok",
    ),
    "size": (
        r"not an? .*|no .*|kein.*|not .* at all",
        r"(?:only )?(?:an? )?(?:very )?(?:small|minor|slight) .*",
        r"(?:an? )?(?:moderate|medium|somewhat).*",
        r"(?:an? )?(?:big|major|large|serious|important) .*",
        r"(?:an? )?(?:very|extremely) (?:big|large|serious|major|important) .*|an? crisis.*",
    ),
    "proportion": (
        r"none(?: .*)?|(?:almost|nearly|hardly) (?:none|any)(?: .*)?|kein\w*|aucune?|ningun[oa]s?|nessun[oa]|"
        r"nenhuma?|geen|ingen|zad\w+|никто",
        r"(?:a )?(?:very )?few(?: of .*)?|(?:a )?(?:small )?(?:minority|part)(?: of .*)?|less than half(?: "
        r".*)?|"
        r"some(?: of .*)?|wenige|peu|poc[oa]s|poch[ie]|alcun[ie]|poucos|weinige?|nagra|noen|nogle|"
        r"weniger als die halfte.*|moins de la moitie.*|menos de la mitad.*|meno della meta.*|"
        r"menos da metade.*",
        r"(?:about |around |roughly )?(?:a )?half(?: .*)?|(?:etwa )?die halfte.*|(?:environ )?la moitie.*|"
        r"(?:aproximadamente )?la mitad.*|(?:circa )?la meta.*|(?:cerca de )?a? ?metade.*|(?:ongeveer )?de "
        r"helft.*|"
        r"(?:ungefar |omtrent )?halv\w+.*|polowa.*|половина.*",
        r"more than half(?: .*)?|most(?: of .*)?|(?:a |the )?(?:large )?majority(?: of .*)?|many(?: of .*)?|"
        r"mehr als die halfte.*|die meisten.*|plus de la moitie.*|la plupart.*|mas de la mitad.*|"
        r"la mayoria.*|piu della meta.*|la maggior parte.*|mais da metade.*|a maioria.*|meer dan de helft.*|"
        r"de meesten?.*|de fleste.*|de flesta.*|wiekszosc.*|большинство.*",
        r"(?:almost|nearly|just about|practically) (?:all|everyone)(?: .*)?",
        r"all(?: of .*)?|everyone|everybody|alle|tous|todos|tutti|allemaal|alla|wszyscy|все",
    ),
    "degree": (
        r"ingen .*|kein\w* .*|aucune? .*|ningun[oa] .*|nessun[oa] .*|nenhuma? .*|geen .*|zadn\w+ .*",
        r"(?:svaert |veldig |meget |mycket |sehr |tres |muy |molto |muito |zeer |bardzo )?(?:liten?|lite|"
        r"lille|lidt|"
        r"klein\w*|gering\w*|wenige?|faibles?|petites?|peu de|poc[oa]|pequen[oa]|piccol[oa]|pouc[oa]|weinig|"
        r"mal[aey]) .*",
        r"(?:noe|en del|nagot|nogen|einige?|etwas|gewisse\w*|mittlere\w*|certaine?s?|moyenne?s?|cierta?|"
        r"algun[oa]|"
        r"algo de|qualche|una certa|algum[a]?|enige?|middels|middelmatig|viss) .*",
        r"(?:stor\w*|hoy|hog\w*|mye|meget|mycket|gross\w*|hoh\w*|stark\w*|viel|grandes?|fortes?|beaucoup de|"
        r"much[oa]|"
        r"molt[oa]|muit[oa]|gran|grote?|veel|duz\w+) .*",
        r"(?:svaert|veldig|meget|mycket|valdigt|sehr|tres|muy|molto|muito|zeer|heel|bardzo) (?:stor\w*|hoy|"
        r"hog\w*|mye|"
        r"gross\w*|hoh\w*|stark\w*|viel|grandes?|fortes?|gran|grote?|veel|duz\w+) .*",
    ),
    "wrong": (
        r"not wrong(?: at all)?",
        r"(?:wrong only sometimes|only sometimes wrong|sometimes wrong)",
        r"almost always wrong|nearly always wrong",
        r"always wrong",
    ),
    "change": (
        r"(?:much|a lot|got much|gotten a lot) (?:worse|less|lower|weaker)|(?:decrease|decreased|reduced?|"
        r"fewer) (?:a lot|greatly)|"
        r"viel (?:schlechter|weniger)|beaucoup moins.*|mucho (?:peor|menos)|spend much less",
        r"(?:somewhat |a little |slightly |gotten |got |stayed )?(?:worse|less|lower|fewer|weaker|down)|"
        r"(?:gotten )?worse|decreased?|reduced?|"
        r"(?:etwas )?(?:schlechter|weniger)|(?:plutot )?(?:moins|pire|moins bien)|(?:algo )?(?:peor|"
        r"menos)|peggio|meno|pior|slechter|"
        r"minder|samre|darligere|mindre|gorzej|mniej|хуже|меньше|变差|too little|"
        r"spend less|zu wenig|trop peu|"
        r"demasiado poco|troppo poco|te weinig|za malo|cut|bad thing|a bad thing|negative(?:ly)?|"
        r"mostly negative|harm",
        r"(?:about |stay(?:ed)? |remain |kept |keep )*(?:the )?(?:about )?same.*|no (?:change|difference|"
        r"effect)|unchanged|about (?:the )?right.*|"
        r"(?:genau )?gleich|unverandert|(?:a peu pres )?(?:la meme|pareil|le meme).*|igual|lo mismo|"
        r"uguale|lo stesso|o mesmo|hetzelfde|"
        r"gelijk|samma|likt|uendret|tak samo|bez zmian|так же|一样|gerade richtig|ungefahr richtig|"
        r"juste ce qu il faut|as now|"
        r"neither good nor bad.*|neither|don t mind|neutral|right amount",
        r"(?:somewhat |a little |slightly |gotten |got )?(?:better|more|higher|stronger|greater|up)|"
        r"increased?|(?:etwas )?(?:besser|mehr)|"
        r"(?:plutot )?(?:mieux|plus)|(?:algo )?(?:mejor|mas)|meglio|piu|melhor|mais|beter|meer|battre|"
        r"bedre|mer|lepiej|wiecej|лучше|"
        r"больше|变好|too much|too many|spend more|zu viel|trop|demasiado|troppo|te veel|za duzo|expand|"
        r"good thing|a good thing|positive(?:ly)?|"
        r"mostly positive|help",
        r"(?:much|a lot|gotten a lot|got much) (?:better|more|higher|stronger)|(?:increase|increased|"
        r"improved?) (?:a lot|greatly)|"
        r"viel (?:besser|mehr)|beaucoup (?:mieux|plus).*|mucho (?:mejor|mas)|spend much more",
    ),
}
"""Rungs of unipolar ladders, from the lowest, in the plain form of labels."""

_RUNGS = {name: tuple(re.compile(rung) for rung in rungs) for name, rungs in _LADDERS.items()}

_NEITHER = re.compile(
    r"neither\b.*|neutral.*|undecided|in the middle|it depends|depends|middle|indifferent|mixed.*|"
    r"uncertain|not sure|unsure|"
    r"(?:they (?:are |re )?)?(?:both |about )*equally\b.*|agree with neither\b.*|verken\b.*|middle of the "
    r"road|cent(?:er|re|rist)|mitte|centre|"
    r"centro|midten|mitten|"
    r"(?:niet|nicht|not|no|non|nao|ikke|inte|nie|не|ne|pas) (?:\w+ ){1,2}(?:(?:and|und|en|e|y|et|och|og|i|и|"
    r"of|or|"
    r"nor|noch|ni|ne) )?(?:niet|nicht|not|non|nao|ikke|inte|nie|не|pas) \w+|"
    r"no preference|weder.*|teils.*|unentschieden|neutral|ni\b.*|neutre|ne\b.*ne\b.*|ne d.*accordo ne.*|"
    r"indiferente|depende|nem\b.*nem\b.*|"
    r"noch\b.*|niet.*eens.*niet.*oneens.*|varken.*|hverken.*|ani\b.*|ни .*|отчасти.*|"
    r"既不.*|中立|どちらとも.*|"
    r"ne .* ne .*|half.*half.*|"
    r"both equally|moderately?|mittel"
)
_STRONG = re.compile(
    r"\b(?:strongly|very|extremely|completely|totally|entirely|fully|absolutely|definitely|certainly|much|"
    r"a great deal|highly|"
    r"sehr|voll|vollig|stark|ausserst|ganz|vollkommen|uberaus|bestimmt|auf jeden fall|tout a fait|tres|"
    r"fortement|totalement|"
    r"completement|certainement|muy|totalmente|completamente|plenamente|mucha|mucho|fuertemente|"
    r"definitivamente|molto|del tutto|"
    r"fortemente|assolutamente|muito|concordo plenamente|zeer|helemaal|heel|sterk|volledig|mycket|helt|"
    r"starkt|absolutt|meget|veldig|svaert|"
    r"bardzo|zdecydowanie|calkowicie|полностью|очень|совершенно|определенно|kesinlikle|cok|tamamen)\b|非常|"
    r"完全|十分|とても|強く|매우"
)
_WEAK = re.compile(
    r"\b(?:somewhat|slightly|a little|a bit|rather|fairly|mostly|moderately|lean|leaning|probably|tend to|"
    r"quite|more or less|partly|"
    r"not very|not too|not so|only|mildly|weakly|not strongly|just|some|eher|etwas|teilweise|ziemlich|"
    r"wahrscheinlich|wenig|nicht sehr|"
    r"plutot|assez|un peu|peu|pas tres|probablement|bastante|algo|mas bien|poco|un poco|probablemente|"
    r"no muy|abbastanza|piuttosto|"
    r"probabilmente|non molto|um pouco|pouco|em parte|provavelmente|enigszins|tamelijk|eerder|niet zo|"
    r"ganska|delvis|noe|litt|nokso|"
    r"raczej|dosc|скорее|отчасти|biraz|oldukca)\b|比较|比較|不太|やや|まあ|どちらかといえば|약간"
)
_NOT = re.compile(
    r"\b(?:not|no|non|nicht|kein|keine|keinerlei|pas|aucune?|ningun[oa]?|nada|nessun[oa]?|niente|nulla|nao|"
    r"nem|niet|"
    r"geen|inte|ikke|ingen|nie|не|нет|"
    r"un(?=happy)|degil|don t|dont|isnt|wont)\b|不(?!太)|ない"
)
_A_LITTLE = re.compile(r"\b(?:a little|slightly|un peu|un poco|ein wenig|um pouco|een beetje|litt)\b")
_HARDLY = re.compile(r"\b(?:hardly|barely|kaum|wenig|peu|poco|pouco|weinig|malo|knappast|lite)\b|мало")
_AT_ALL = re.compile(
    r"\b(?:at all|gar|uberhaupt|du tout|en absoluto|nada|per niente|per nulla|helemaal|alls|det hele tatt|"
    r"wcale|совсем)\b"
)
_FOR = (
    r"agree|favou?r|support|approve|satisfied|important|likely|confident|confidence|trust|interested|"
    r"happy|concerned|worried|"
    r"proud|safe|comfortable|like me|true|serious|effective|favorable|optimistic|positive|well|willing|"
    r"acceptable|justified|essential|"
    r"familiar|close|useful|responsible|influential|right|helpful|fair|honest|accurate|common|easy|secure|"
    r"democratic|good|right direction|"
    r"liberal|threat|problem|priority|yes|would|agreement|close to|religious|informed|engaged|harmful|"
    r"prepared|"
    r"stimme.* zu|stimme.*|zustimm\w*|dafur|befurworte\w*|zufrieden|wichtig|wahrscheinlich|vertrauen|"
    r"vertraue|interessiert|glucklich|"
    r"besorgt|stolz|sicher|trifft.*|zutreffend|gerecht|gut|d ?accord|favorable|satisfaite?|importante?|"
    r"probable|confiance|"
    r"interessee?|heureux|heureuse|inquiete?|fiere?|d ?accord|pour|de acuerdo|acuerdo|a favor|"
    r"satisfech[oa]|confianza|interesad[oa]|"
    r"feliz|preocupad[oa]|orgullos[oa]|segur[oa]|d ?accordo|favorevole|soddisfatt[oa]|fiducia|"
    r"interessat[oa]|felice|preoccupat[oa]|"
    r"concordo|satisfeit[oa]|confianca|interessado|preocupado|mee eens|eens|tevreden|belangrijk|"
    r"vertrouwen|geinteresseerd|gelukkig|"
    r"instammer|for$|liker|gillar|kan lide|houden? van|nojd|viktigt|fortroende|intresserad|enig|fornoyd|"
    r"viktig|"
    r"tillit|interessert|tilfreds|"
    r"vigtig|tillid|zgadzam|zadowolon\w*|"
    r"wazn\w*|ufam|zainteresowan\w*|popieram|соглас\w*|важн\w*|доверя\w*|доволен|удовлетворен\w*|"
    r"счастлив\w*|katiliyorum|memnunum|"
    r"onemli|guveniyorum"
)
_AGAINST = (
    r"disagree|oppose|disapprove|dissatisfied|unimportant|unlikely|distrust|mistrust|uninterested|unhappy|"
    r"unsafe|uncomfortable|"
    r"unfavorable|unfavourable|against|reject|false|ineffective|pessimistic|negative|unwilling|"
    r"unacceptable|unjustified|unfair|"
    r"dishonest|wrong|unconcerned|disappointed|wrong direction|inaccurate|conservative|uncommon|difficult|"
    r"insecure|bad|"
    r"lehne.* ab|ablehn\w*|dagegen|unzufrieden|unwichtig|unwahrscheinlich|misstrau\w*|unglucklich|"
    r"unsicher|ungerecht|schlecht|"
    r"insatisfaite?|mecontente?|defavorable|oppose|contre|malheureux|desacuerdo|en desacuerdo|en contra|"
    r"insatisfech[oa]|desconfianza|"
    r"infeliz|improbable|in disaccordo|disaccordo|contrari[oa]|insoddisfatt[oa]|sfiducia|infelice|"
    r"discordo|insatisfeit[oa]|oneens|ontevreden|"
    r"onbelangrijk|ongelukkig|tar avstand|mot$|imod$|emot$|misliker|ogillar|missnojd|oenig|uenig|misfornoyd|"
    r"utilfreds|"
    r"niezadowolon\w*|"
    r"sprzeciwiam|niewazn\w*|несоглас\w*|"
    r"недоволен|неудовлетворен\w*|katilmiyorum|memnun degilim|guvenmiyorum"
)
_STEMS_FOR = re.compile(
    rf"\b(?:{_FOR})\b|(?<!不)(?:同意|赞成|贊成|满意|滿意|重要|信任|支持|賛成|満足|信頼|동의|만족|찬성)"
)
_STEMS_AGAINST = re.compile(
    rf"\b(?:{_AGAINST})\b|反对|反對|不同意|不满意|不滿意|不重要|不信任|反対|不満|반대"
)


def is_ordered(labels: Sequence[str]) -> bool:
    """Return whether labels, in the order of their codes, go one way on a scale known by its words."""
    forms = [spelled_out(plain(label)) for label in labels]
    if len(forms) < 2:
        return False
    if on_ladder(labels) or _one_way([_attitude(form) for form in forms]):
        return True
    if _one_way(numbered(labels) or [None]) or _one_way([enough(form) for form in forms]):
        return True
    return _one_way([times_a_year(form) for form in forms]) or make_a_scale(forms)


def on_ladder(labels: Sequence[str]) -> bool:
    """Return whether labels, in the order of their codes, go one way on a ladder, as of amounts."""
    forms = [spelled_out(plain(label)) for label in labels]
    one_thing = len({form.split()[-1] for form in forms if form}) == 1
    return any(
        _one_way([_rung(form, rungs) for form in forms])
        for name, rungs in _RUNGS.items()
        if one_thing or name != "degree"
    )


def is_neither(label: str) -> bool:
    """Return whether a label is between for and against."""
    return _NEITHER.fullmatch(plain(label)) is not None


def order_of(labels: Sequence[str], graded: bool = False) -> list[int] | None:
    """Return the order in which labels go up on a scale known by its words; None if they make none.

    Args:
        labels: the labels, in any order.
        graded: whether grades of any quality are looked at too, of which other words tell less.
    """
    forms = [spelled_out(plain(label)) for label in labels]
    ladders = [partial(_rung, rungs=rungs) for name, rungs in _RUNGS.items() if name != "degree"]
    places: list[Callable[[str], float | None]] = [*ladders, _attitude, enough]
    known: list[Sequence[float | None]] = [numbered(labels) or []]
    known += [[place(form) for form in forms] for place in places]
    known += gradings(forms) if graded else []
    for found in known:
        ranks = [r for r in found if r is not None]
        if len(ranks) == len(forms) == len(set(ranks)) > 1:
            return sorted(range(len(forms)), key=lambda i: ranks[i])
    return None


def _rung(form: str, rungs: Sequence[re.Pattern[str]]) -> float | None:
    return next((float(i) for i, rung in enumerate(rungs) if rung.fullmatch(form)), None)


def _attitude(form: str) -> float | None:
    """Return how far a label is for (above 0) or against what a question says."""
    if _NEITHER.fullmatch(form):
        return 0.0
    against = _STEMS_AGAINST.search(form)
    stem = against or _STEMS_FOR.search(form)
    if stem is None:
        return None
    weak, strong = _WEAK.search(form), _STRONG.search(form)
    denied = _NOT.search(form)
    if denied and re.search(
        r"\b(?:not|nicht|pas|no|non|nao|niet|inte|ikke) (?:very|too|so|sehr|tres|muy|molto|muito|zo|erg|"
        r"sarskilt|saerlig)\b",
        form,
    ):
        return -1.0 if against is None else 1.0
    if not denied and (_A_LITTLE.search(form) or _HARDLY.search(form)):
        slight = 0.5 if _A_LITTLE.search(form) else -0.5
        return slight if against is None else -slight
    strength = 3.0 if strong and not weak else 1.0 if weak else 2.0
    if denied and _AT_ALL.search(form):
        strength = 3.0
    return -strength if (against is not None) != bool(denied) else strength


def _one_way(ranks: Sequence[float | None]) -> bool:
    if any(r is None for r in ranks):
        return False
    steps = [b - a for a, b in pairwise(r for r in ranks if r is not None)]
    return all(s > 0 for s in steps) or all(s < 0 for s in steps)
