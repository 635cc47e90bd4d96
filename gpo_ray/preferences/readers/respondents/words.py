"""Words by which answers that are no answers are recognised, in the languages of the large surveys.

The forms are those of :func:`plain`: without case, accents, apostrophes and punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Literal

from gpo_ray.preferences.readers.respondents.table import Value, shown_value

Silence = Literal["refused", "not asked"]
"""Why a respondent has no answer: refused or did not know, or was not asked."""

_APOSTROPHES = str.maketrans("", "", "'’‘`´")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})
"""Letters that are written without their marks, and are no letter with a mark in Unicode."""
_BEFORE_CODE = re.compile(r"\s*[\[(]?\s*0*")
_AFTER_CODE = re.compile(r"\s*(?:[\])]\s*[.:\-–—=]?|[.:=]-?|\s[-–—])(?:(?<=[.:)\]])\s+(?=\d)|\s*(?=[^\s\d]))")
"""What stands before a code, and what parts it from its label. Before a number the sign must be one that no
number has: in "0 - 1 times", "1.000 Euro" and "2.5 times" the beginning is no code."""
_BEFORE_BARE, _AFTER_BARE = re.compile(r"[\[(]?0*"), re.compile(r"[\])]?[.:=]?\Z")
"""A label that is its code alone, as the inner points of scales have."""
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>")
_PARTS = re.compile(
    r"\s*(?:/|;|,|\||\+|&| - | or | and | oder | und | ou | et | o | y | u | of | en | eller | och | lub )\s*"
)

_REFUSED = """
refused|refusal|refuse|refuses|refused to answer|refuse to answer|refusal to answer|refused to say|ref|rf
prefer not to say|prefer not to answer|rather not say|would rather not say|declined|declined to answer
decline to answer|decline to state|no answer|no answer given|no answer provided|no response|na|n a|no ans
not answered|unanswered|didnt answer|did not answer|non response|nonresponse|item nonresponse|left blank
blank|dont know|do not know|doesnt know|didnt know|dk|dkna|dk na|d k|dont knows|dont recall|dont remember
cant remember|cant recall|cant say|cannot say|can t say|cant choose|cannot choose|hard to say
difficult to say|unable to say|no opinion|no idea|havent thought about it|havent heard enough|unknown
uncertain dk|no knowledge|iap dk na|dk ref|dk nr|no further information|missing|missing value|missing data
missing unknown|not available|not ascertained|not ascertainable|uncodeable|uncodable|uncodeable dont know
unclassifiable|not codeable|not codable|see documentation|error|data error|invalid|invalid answer|spoiled
web blank|no web blank|skipped|skipped on web|skipped by respondent|sysmis|system missing|user missing
not stated|not reported|interview breakoff|breakoff|sufficient partial interview|insufficient partial
technical error|no post data|no post election interview|weiss nicht|weis nicht|weiß nicht|weiss ich nicht
ich weiss nicht|kann ich nicht sagen|kann ich nicht beurteilen|kann mich nicht erinnern|keine angabe
keine angaben|k a|ka|keine antwort|verweigert|antwort verweigert|angabe verweigert|verweigerung
keine meinung|unbekannt|nicht bestimmbar|fehlender wert|fehlend|datenfehler|unplausibler wert
mehrfachnennung|weiss nicht keine angabe|nicht beantwortet|mochte ich nicht sagen|ne sait pas|nsp
ne sais pas|je ne sais pas|nspp|ne se prononce pas|sans opinion|sans reponse|pas de reponse|refus
refus de repondre|ne repond pas|nr|ns nr|non reponse|ne veut pas repondre|refuse de repondre
ne souhaite pas repondre|pas d opinion|pas dopinion|manquant|valeur manquante|inconnu|no sabe|no se|ns|n s
no contesta|n c|nc|ns nc|nsnc|no responde|no respondio|no contesto|no sabe no contesta|no sabe no responde
no contestan|no saben|se niega|rechaza|rehusa|rehusa contestar|se nego|ninguna respuesta|sin respuesta
sin dato|sin datos|sin informacion|sin opinion|no hay respuesta|no recuerda|perdido|desconocido
no tiene opinion|prefiere no contestar|prefiere no responder|non so|non sa|non risponde|nessuna risposta
rifiuta|rifiuto|non sa non risponde|non ricordo|senza opinione|nessuna opinione|preferisco non rispondere
mancante|non indicato|nao sabe|nao sei|nao responde|nao respondeu|ns nr|nao sabe nao responde|recusa|recusou
recusa responder|sem resposta|sem opiniao|prefiro nao responder|prefere nao responder|nao sabe dizer
weet niet|weet ik niet|weet het niet|geen antwoord|geen opgave|geen mening|weigert|weigering|geweigerd
wil niet zeggen|wil ik niet zeggen|onbekend|vet ej|vet inte|vet ikke|ved ikke|ingen uppfattning|ingen asikt
inget svar|ej svar|uppgift saknas|vill ej svara|vill inte svara|vagrar|vagran|ubesvart|uoppgitt|ikke besvart
vil ikke svare|nekter|ingen mening|intet svar|uoplyst|nægter|onsker ikke a svare|onsker ikke at svare
ei osaa sanoa|eos|en osaa sanoa|ei vastausta|kieltaytyi|nie wiem|trudno powiedziec|odmowa|odmowa odpowiedzi
brak odpowiedzi|nie pamietam|brak danych|nie mam zdania|nevim|neodpovedel|bez odpovedi|odmitl|neviem
nem tudja|nem valaszol|nt|nv|nem valaszolt|nu stiu|nu raspunde|ne zna|ne znam|bez odgovora|odbija|bilmiyorum
bilmiyor|fikri yok|cevap yok|cevap vermedi|reddetti|fikrim yok|yanit yok|не знаю|затрудняюсь ответить
затрудняюсь|отказ|отказ от ответа|нет ответа|трудно сказать|без ответа|не знает|важко сказати
важко відповісти|відмова|немає відповіді|不知道|不清楚|不知道 不清楚|拒绝回答|拒絕回答|拒答
无回答|無回答|没有回答|未回答|无法回答|无法选择|很難說|说不清|說不清
缺失|わからない|分からない|答えたくない|無回答|回答拒否|不明|どちらともいえない わからない
모름|무응답|모르겠다|모름 무응답|응답거절|لا اعرف|لا أعرف|لا ادري|رفض
رفض الاجابة|رفض الإجابة|لا جواب|لا إجابة|لا اجابة|بدون إجابة|לא יודע|מסרב|khong biet|khong tra loi
tidak tahu|tidak menjawab|tidak tahu tidak menjawab|menolak menjawab|hindi alam
w n|vill ej uppge|vill inte uppge|sr
"""

_NOT_ASKED = """
not asked|not asked in survey|not asked in country|not asked in this country|not asked in wave
question not asked|not applicable|inapplicable|inap|iap|n ap|nap|does not apply|doesnt apply|not relevant
legitimate skip|valid skip|skip|skip pattern|logical skip|filtered|filter|filtered out|split sample
split half|split ballot|not in split|not in sample|not in this form|not on this form|not administered
not fielded|not selected for module|not available in this year|not available in this release|not imputable
not imputed|no module|not included|not surveyed|not in universe|niu|out of universe|not interviewed
no interview|nicht erhoben|nicht gefragt|nicht befragt|entfallt|split|trifft nicht zu|tnz|tnz filter
nicht zutreffend|frage nicht gestellt|in erhebung nicht enthalten|nicht im split|filterfuhrung|non concerne
sans objet|non pose|non posee|question non posee|non applicable|ne s applique pas|ne sapplique pas|no aplica
no aplicable|no procede|np|n p|no preguntada|no preguntado|no se pregunto|no corresponde|filtro
non applicabile|non pertinente|non chiesto|non prevista|nao se aplica|nao aplicavel|nao perguntado
niet van toepassing|nvt|n v t|niet gevraagd|ej tillampligt|ej stalld|ikke relevant|ikke stillet|ikke spurt
ej relevant|ikke aktuelt|nie dotyczy|nie pytano|не применимо|неприменимо|не спрашивали|не задавался
uygulanamaz|uygun degil|sorulmadi|不适用|不適用|非該当
該当なし|비해당|해당없음|لا ينطبق|غير منطبق|لم يسأل|לא רלוונטי|not in wave|not in this wave
"""

_BEGINS = re.compile(
    r"(?:dont know|do not know|refus(?:ed|al)\b|no answer|prefer not to|weiss nicht|verweigert|"
    r"ne sait pas|ne se prononce|no sabe|no contest|no responde|nao sabe|nao respond|non risponde|"
    r"nie wiem|vet (?:ej|inte)|weet niet|skipped|trudno powiedziec|затрудня|dk\b|havent (?:heard|thought))"
)
"""Beginnings of longer forms, such as "Don't know, not stated"; "Don't know anyone" is an answer where its
code is one of those of answers."""
_BEGINS_SURELY = re.compile(
    r"(?:(?:dont|do not|didnt|doesnt) know (?:enough|the answer|what to|how to (?:say|answer)|or |whether |"
    r"if |no |not |un|about|well enough|refus)|refused? to (?:say|answer|state|respond)|skipped (?:on|by)|"
    r"not asked|not applicable|inap\b|inapplicable|not ascertained|"
    r"missing (?:not|unknown|data|value|other|author)|keine angabe|tnz|nicht erhoben|interview break|"
    r"question not asked|not available in|no post election)"
)
"""Beginnings of forms that are no answers whatever follows."""
_UNSURE = """
blank|skip|filter|filtered|error|invalid|refuse|refuses|split|refus|rifiuto|odmowa|refusa|recusa
na|nr|ns|nc|np|nv|nt|sr|ka|ref|rf|nap|spoiled|inconnu
"""
"""Short forms and words that name answers too, such as parties and a blank ballot."""
_PERSON = re.compile(
    r"^(?:i|im|ive|we|r|respondent|the respondent|ich|wir|je|j|nous|yo|io|eu|ik|jag|jeg|я)\s+"
)
"""Who says it, as in "I don't know"."""
_NT = r"(?:do|does|did|can|could) ?not|(?:do|does|did|ca|could)nt"
_SAYS_NOTHING = re.compile(
    rf"(?:{_NT}) (?:really |quite |just |yet |fully )?(?:know|remember|recall|understand|say|answer|respond|"
    r"reply|(?:want|wish|like|care) to (?:say|answer|tell|respond)|have an? (?:opinion|answer|view)|"
    r"place (?:my|him|her|them|one)?sel(?:f|ves))"
    r"(?: (?:it|this|that|yet|so far|the (?:question|item|statement|issue|answer)s?|any of (?:it|them)|"
    r"what (?:it|this) means|on (?:this|the|a) (?:\w+ )?(?:scale|question)|on (?:it|this)|"
    r"about (?:it|this)))?|(?:cannot|can ?not|cant|could ?not|couldnt) (?:choose|decide|tell|judge|pick|"
    r"rate)|"
    r"(?:rather|prefer|would prefer|would rather|id rather|id prefer|choose) not(?: to)?(?: (?:say|answer|"
    r"disclose|tell|state|share|respond|identify|specify|comment|give (?:a |an )?(?:answer|response)))?|"
    r"(?:refused?|refuses|declined?|declines) (?:to (?:say|answer|respond|state|tell|give an answer|choose))|"
    r"(?:unable|not able|not willing|unwilling) to (?:say|answer|choose|decide|judge|tell|rate|respond)|"
    r"(?:item|question|page|screen|answer|response|respondent|(?:self|form) ?administered) "
    r"(?:was )?(?:skipped|missing|left blank|not answered|not seen|omitted|blank|refused)|"
    r"(?:skipped|left|omitted|did not answer|no answer to|missed) (?:the |this )?(?:item|question|page|blank|"
    r"answer)|no (?:reply|comment|valid answer|usable answer)|no (?:information|info|data) "
    r"(?:available|given|provided)|(?!(?:very|largely|mostly|totally|completely|rather|fairly|quite|almost|"
    r"relatively) )\w+ (?:unknown|not known|not recorded|not specified|unspecified|not determined)|"
    r"not (?:yet )?coded|not recorded|not disclosed|not specified|unspecified|illegible|unreadable|"
    r"uninterpretable|undeterminable|multiple (?:answers|responses|marks)(?: given)?|"
    r"dont care to answer|no clue|no comment|(?:havent|have not|never) (?:really )?(?:thought|thinks?)(?: "
    r"much)?"
    r"(?: about (?:it|this|that))?|"
    r"(?:die )?frage (?:nicht )?(?:verstanden|ubersprungen|ausgelassen|unbeantwortet)|verstehe? (?:die frage "
    r")?"
    r"nicht(?: die frage)?|weiss (?:es |ich |ich es |das )?(?:leider )?nicht|(?:dazu )?(?:habe )?(?:ich )?"
    r"(?:dazu )?keine (?:meinung|ahnung|einschatzung)(?: dazu)?|kann (?:ich )?(?:das |es )?nicht (?:sagen|"
    r"beantworten|angeben)|mochte (?:ich )?(?:das |dazu )?(?:nicht|lieber nicht|keine angaben?) (?:sagen|"
    r"antworten|beantworten|angeben|machen)|will (?:ich )?nicht (?:sagen|antworten)|ubersprungen|"
    r"unbeantwortet|"
    r"(?:ne |n )?(?:sais?|sait|comprends?|comprend|souhaite|veux|veut|peux|peut|souviens?|souvient|prefere) "
    r"(?:pas|ne pas)(?: (?:la question|repondre|dire|choisir|se prononcer|me prononcer|en parler))?|"
    r"prefere ne pas (?:repondre|le dire|dire|se prononcer)|question (?:non comprise|sautee|passee)|"
    r"(?:non|pas) (?:renseigne|repondu|precise|communique|reponse)e?|aucune (?:reponse|idee|opinion)|"
    r"no (?:lo |la |le )?(?:se|sabe|sabria|recuerdo|recuerda|entiendo|entiende|entendio|comprende|quiere|"
    r"quiero|"
    r"desea|puede|puedo|contesta|contesto|respondio|tiene opinion|opina|declara|especifica\w*|informa\w*|"
    r"se ubica|se situa|se posiciona|se identifica)(?: (?:la pregunta|decir|decirlo|contestar|responder|"
    r"elegir|"
    r"opinar|que responder|que decir))?|prefier[eo] no (?:decir|decirlo|contestar|responder|opinar)|"
    r"(?:ns|nr|nc|np|nsp)(?: (?:ns|nr|nc|np))+|"
    r"non (?:lo |la )?(?:so|sa|saprei|ricordo|ricorda|capisco|capisce|ho capito|risponde|rispondo|desidera|"
    r"voglio|"
    r"vuole|posso|ho (?:un )?opinioni?|dichiara|indica|specifica\w*|(?:mi|si) (?:colloco|colloca|riconosco|"
    r"riconosce|identifico))(?: (?:la domanda|rispondere|dirlo|dire|scegliere|cosa rispondere))?|"
    r"preferi(?:sco|sce) non (?:rispondere|dirlo|dire|indicarlo)|n d|nd|"
    r"nao (?:o |a )?(?:sei|sabe|saberia|lembro|lembra|entendo|entendeu|entende|quero|quer|deseja|respondeu|"
    r"tem opiniao|tenho opiniao|opina|declar\w+|inform\w+|se (?:situa|posiciona|identifica)|me posiciono)"
    r"(?: (?:a pergunta|dizer|responder|opinar|o que dizer))?|prefir?o nao (?:dizer|responder|opinar)|"
    r"(?:weet|snap|begrijp|begrijpt|herinner) (?:ik |hij |zij )?(?:het |de vraag |dit )?(?:echt )?niet|"
    r"(?:wil|zeg|zegt) (?:ik )?(?:het |dit )?(?:liever )?niet(?: zeggen)?|(?:zeg|antwoord) (?:ik )?liever "
    r"niet|"
    r"(?:vraag )?(?:niet ingevuld|overgeslagen|niet beantwoord)|geen (?:idee|reactie|oordeel)|"
    r"(?:vet|ved|husker|minns|forstar|forstod) (?:inte|ej|ikke|det ikke|inte riktigt)(?: (?:fragan|"
    r"sporgsmalet|"
    r"sporsmalet))?|(?:vill|vil|onskar|onsker) (?:inte|ej|ikke|helst inte|helst ikke|heller ikke)(?: (?:a|"
    r"att|at))?"
    r"(?: (?:svara|svare|saga|si|sige|uppge|oppgi))|(?:fragan|sporsmal|sporgsmal) (?:ikke |inte "
    r")?(?:hoppades over|"
    r"overhoppad|hoppet over)|ingen (?:asikt|uppfattning|formening|holdning|aning|anelse)|"
    r"(?:ei|en) (?:osaa|halua|tieda|muista|vastannut)(?: (?:sanoa|vastata))?|"
    r"(?:nie|ne) (?:wiem|wie|pamietam|pamieta|rozumiem|vim|vi|chce|chcem|znam|zna|zeli)(?: (?:pytania|"
    r"odpowiadac|"
    r"odpovedet|odpowiedziec|mowic|odgovoriti))?|nem (?:tudja|tudom|valaszol\w*|emlekszik|erti)|"
    r"nu (?:stiu|stie|raspund\w*|doreste|imi amintesc)|"
    r"не (?:знаю|знает|помню|помнит|понимаю|понял|хочу|уверен)(?: (?:отвечать|вопрос|что ответить))?|"
    r"(?:soruyu )?(?:anlamadi|bilmiyor|hatirlamiyor|cevap vermek istemiyor)\w*|"
    r"(?:tidak|tdk) (?:tahu|menjawab|jawab|paham|mengerti|ingat)|khong (?:biet|tra loi|hieu)(?: cau hoi)?|"
    r"(?:لا|لم) (?:اعرف|يعرف|ادري|يجب|افهم|يفهم|اتذكر|يتذكر)(?: .{1,20})?|ارفض الاجابة|"
    r"(?:回答|答え)?(?:したくない|できない)|(?:質問(?:が|の意味が)?)?(?:わか|分か)らない|覚えていない|答えない|"
    r"不(?:明白|理解|記得|记得|想回答|愿回答|願回答)(?:题目|問題|问题)?|(?:看|听|聽)不懂(?:题目|問題)?|"
    r"(?:잘 )?모르(?:겠다|겠음|겠습니다|겠어요)|(?:응답|답변)(?: )?(?:거부|하지 않음)|"
    r"이해(?: )?(?:못함|하지 못함)"
)
"""Texts that say nothing but that there is no answer, whatever their code is."""
_REMEMBERED = re.compile(r"underst|remember|recall")
"""What other answers name too where a question asks for it."""
_QUALIFIERS = re.compile(
    r"\s*(?:volunteered|vol|spontaneous|spontan|do not read|dnr|not read out)\s*[:.\-–—]\s*", re.IGNORECASE
)
"""Words before what was said, as in "Volunteered: refused"."""
_HEAD_ENDS = re.compile(r"[,:;(\[/.]|\s[-–—]")
"""What may follow a form: "NAP, other countries"."""

_DOUBTFUL = {
    "trifft nicht zu": "trifft",
    "nicht zutreffend": "zutreffend",
    "not relevant": "relevant",
    "ikke relevant": "relevant",
    "ej relevant": "relevant",
    "not applicable": "applicable",
    "does not apply": "appl",
    "no aplica": "aplica",
    "not available": "available",
    "unknown": "known",
}
"""Forms that are answers where other labels of the variable hold the stem too."""


def _forms(lists: str) -> frozenset[str]:
    return frozenset(plain(form) for form in re.split(r"[|\n]", lists) if form)


LONG = 2000
"""Characters of a text by which it is recognised; more are no label, and would take long."""


def plain(text: str) -> str:
    """Return a text without case, accents, apostrophes and punctuation, with single spaces.

    Of a text of more than :data:`LONG` characters it is the beginning.
    """
    return _plain(text[:LONG])


@lru_cache(2**14)
def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold().translate(_APOSTROPHES).translate(_LETTERS))
    kept = "".join(c if c.isalnum() or _is_letter_part(c) else _between(c) for c in folded)
    return unicodedata.normalize("NFC", " ".join(kept.split()))


def _is_letter_part(character: str) -> bool:
    """Return whether a mark makes another letter, as the signs of kana (ka, ga) and of vowels in Indic do."""
    kind, order = unicodedata.category(character), unicodedata.combining(character)
    return order in _LETTER_MARKS or kind == "Mc" or (kind == "Mn" and order == 0)


def _between(character: str) -> str:
    """Return what stands for a sign: nothing for a mark of a letter, such as an accent, else a space."""
    return "" if unicodedata.category(character) in ("Mn", "Me", "Cf") else " "


_LETTER_MARKS = frozenset({7, 8, 9})
"""Classes of the marks for nukta, the voicing of kana, and virama."""


def without_code(label: str, value: Value) -> str:
    """Return the label of a value without the value, which some files write before it: "-9. Refused"."""
    return label[_code_end(label, value, _BEFORE_CODE, _AFTER_CODE) or 0 :]


def _code_end(label: str, value: Value, before: re.Pattern[str], after: re.Pattern[str]) -> int | None:
    """Return where a code ends that a label begins with, with what stands around it; None if there is none.

    A pattern with the code in it would have to be compiled for each of many values.
    """
    code, head = shown_value(value), before.match(label)
    for at in range(head.end() if head else 0, -1, -1):
        end = after.match(label, at + len(code)) if label.startswith(code, at) else None
        if end is not None:
            return end.end()
    return None


def without_codes(labels: Mapping[Value, str]) -> dict[Value, str]:
    """Return the labels of a variable without the codes before them.

    A beginning that looks like a code is one only if nine in ten labels begin with their own, not counting
    those of what is no answer and those that are their code alone; and if the labels differ without it too.
    """
    bare = {v for v, t in labels.items() if _code_end(t, v, _BEFORE_BARE, _AFTER_BARE) is not None}
    cut = {v: shown_value(v) if v in bare else without_code(t, v) for v, t in labels.items()}
    counted = [v for v in labels if v not in bare and silence(cut[v]) is None]
    coded = sum(cut[v] != labels[v] for v in counted)
    alike = len({cut[v] for v in counted}) < len({labels[v] for v in counted})
    return dict(labels) if coded < 0.9 * len(counted) or alike else cut


def silence(label: str, among: tuple[str, ...] = (), apart: bool = True) -> Silence | None:
    """Return why a label is no answer: "Refused", "Don't know" and the like; None if it is one.

    Args:
        label: the label of a value, without the value.
        among: the labels of the variable, or :func:`telling` of them. "Trifft nicht zu" (not apply) is an
            answer on a scale of which other labels say what applies.
        apart: whether its code is apart from those of answers, as -9, 8 and 99 are. Short forms and
            beginnings of longer ones, such as "NP" and "Don't know anyone", are answers where it is not.
    """
    if len(label) > LONG:
        return None
    found, stem = _silence(label, apart)
    if stem is not None and sum(stem in plain(each) for each in among) > 1:
        return None
    return found


def telling(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of a variable that tell if "does not apply" is an answer of it: two for each stem.

    All labels tell the same, and would have to be looked at for each of them.
    """
    forms = [plain(label) for label in labels]
    found: set[int] = set()
    for stem in {*_DOUBTFUL.values()}:
        found.update(islice((i for i, form in enumerate(forms) if stem in form), 2))
    return tuple(labels[i] for i in sorted(found))


@lru_cache(2**14)
def _silence(label: str, apart: bool) -> tuple[Silence | None, str | None]:
    """Return why a label is no answer, and the stem that others do not hold then."""
    bare = _BRACKETS.sub(" ", label)
    text = _QUALIFIERS.sub("", bare if plain(bare) else label)
    whole = plain(text)
    for form in dict.fromkeys((whole, re.sub(r"^\d+ ", "", whole), _PERSON.sub("", whole))):
        found = _known(form, apart) or ("refused" if _SAYS_NOTHING.fullmatch(form) else None)
        if found is not None:
            stem = _REMEMBERED.search(form)
            return found, _DOUBTFUL.get(form, stem and stem[0])
    parts = [plain(part) for part in _PARTS.split(text.casefold()) if plain(part)]
    # Short forms beside each other are no party: "NS/NC".
    each = {_known(part, apart or len(parts) > 1) for part in parts}
    if each and None not in each:
        return ("not asked" if each == {"not asked"} else "refused"), None
    head = plain(_HEAD_ENDS.split(text.strip())[0])
    return (_known(head, apart) if head != plain(text) else None), None


def _known(form: str, apart: bool) -> Silence | None:
    if form in UNSURE and not apart:
        return None
    if form in NOT_ASKED:
        return "not asked"
    if form in REFUSED:
        return "refused"
    if _BEGINS_SURELY.match(form) or (apart and _BEGINS.match(form)) or _BEGINS.fullmatch(form):
        return (
            "not asked"
            if re.match(r"not a(?!sc)|inap|question|tnz|nicht|no post|skipped(?! on)", form)
            else "refused"
        )
    return None


REFUSED = _forms(_REFUSED)
NOT_ASKED = _forms(_NOT_ASKED)
UNSURE = _forms(_UNSURE)
