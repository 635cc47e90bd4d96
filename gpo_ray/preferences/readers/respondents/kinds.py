"""Recognise what a variable is by its name, label and labels of values: a weight, paradata, a demographic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from gpo_ray.preferences.readers.respondents.demographics import is_demographic
from gpo_ray.preferences.readers.respondents.opinions import are_opinions, asks_opinion
from gpo_ray.preferences.readers.respondents.properties import names_property
from gpo_ray.preferences.readers.respondents.scales import is_ordered
from gpo_ray.preferences.readers.respondents.unasked import are_months, is_observed, is_own_words
from gpo_ray.preferences.readers.respondents.words import LONG, plain

MOST_POINTS = 30
"""More levels make no scale, and would take long to compare."""
Kind = Literal["demographic", "paradata", "weight", "id", "text"]

_PARADATA_NAME = re.compile(
    r"(?:condition\w{0,3}|arm|randomi[sz]\w*|distribution_?channel|channel|year|wave|round|essround|edition|"
    r"version|doi|ballot|form|form_w\d+|formwt|mode|mode_?\w{0,12}|"
    r"q_mode|device\w*|lang_w\d+|xtablet\w*|treatment(?:_w?\d+)?|split\w*|cntry|country(?:_?(?:code|name|"
    r"iso|num\w*|alpha|wave|year|c|id|split))?|"
    r"b_country\w*|c_cow\w*|s003\w*|isocntry|idenpa|idnpais|vstrat|vpsu|psu|stratum|strata|strat(?:um|"
    r"a)?\d?|cluster\w*|sample|sampcode|oversamp|phase|issp|spaneng|feeused|"
    r"interview\w*|int\w*length|duration\w*|dur\w*|start(?:time|date|ed)?\w?|end(?:time|date)\w*|"
    r"date(?:int\w*|_\w{0,3})?|time(?:stamp|start|end|_?\w?)|dateintv|intdate|intid|intage|intsex|intethn|"
    r"inteth\w*|intyrs|coop|comprend|lngthinv|"
    r"numentre|numinves|digit|codif|supervvi|superen|codsuper|diareal|mesreal|ini|fin|dura|totrevi|"
    r"numcasa|ip_?address|status|progress|finished|recipient\w*|userlanguage|latitude|longitude|"
    r"tnrespons\w*|p[1-9]\w?_?duration|consent\w*|quota\w*|complete\w*|[a-z]_?psu|[a-z]?_?interviewer\w*|"
    r"j_intdate|k_duration|k_time\w*|fw_\w+|a_(?:wave|year|study)|n_region\w*|n_town|o\d?_(?:lo|la)\w*|"
    r"s002\w*|s0(?:07|09|20|24|25)\w*|lnge_\w+|e_respint|f_intprivacy|e1_literacy|s_intlanguage)"
)
_PARADATA = re.compile(
    r"\binterviewers?\b|date of interview|^interview\b|interview (?:start|end|id|date|number|time|status|"
    r"type|quality)|mode of (?:data|interview|collection)|interview mode|length of (?:the )?(?:interview|"
    r"questionnaire|survey)|interview length|duration of (?:the )?(?:interview|survey)|^duration(?! of)|"
    r"interview duration|start(?:ing)? (?:time|date)|end(?:ing)? (?:time|date)|time ?stamp|"
    r"\b(?:sampling|sample)\b.*|\bstrat(?:um|a|ification)\b|primary sampling|\bpsu\b|\bcluster\b|"
    r"variance (?:unit|stratum|primary)|^country$|^country (?:code|name|iso|wave|year|of interview)|"
    r"country code|iso 3166|"
    r"(?:^| )(?:wave|round|edition)$|chronology|survey (?:year|wave|round|mode)|"
    r"^(?:gss )?year(?: for this respondent| of (?:the )?survey)?$|split (?:of|questionnaire|ballot|form)|"
    r"(?:questionnaire|ballot|survey) (?:form|version|used|split)|^form\b(?! of)|^ballot\b|"
    r"device (?:type|used)|operating system|response time|page timing|^timing\b|in minutes\b|"
    r"anyone (?:else )?(?:was )?present|persons? present|^(?:respondents? )?cooperation|"
    r"respondents? (?:understanding|attitude toward interview|interest in (?:the )?interview|cooperat\w*|"
    r"was)|understanding of questions|number of (?:calls|contacts|attempts)|response rate|"
    r"administr\w+ (?:unit|mode)|experiment\w* (?:condition|group|assign\w*)|"
    r"random(?:ized|ised|ly)?\b.*(?:order|group|version|assign\w*|number)|^(?:data )?(?:version|"
    r"edition)(?! of)|"
    r"digital object|questionnaire language|language (?:of|in which) (?:the )?(?:interview|questionnaire|"
    r"survey)\b.*|"
    r"interviewer|befragungs?(?:art|dauer|methode|zeit|ende|beginn)|erhebungs(?:jahr|methode|modus|"
    r"instrument)|interviewdauer|enqueteur|duree (?:de l|d)|date de|entrevistador|encuestador|"
    r"duracion de la|^fecha|"
    r"numero de (?:entrevista|cuestionario)|intervistatore|durata|entrevistador|duracao|interviewduur|"
    r"intervjuare|ankieter|czas trwania|data wywiadu"
)
_JUDGED = re.compile(
    r"\b(?:time|hour|day|month|year|place|date) of (?:the )?interview|"
    r"^(?:was )?(?:the )?(?:respondents?|rs?) (?:s )?(?:attitude(?! (?:to|towards?|about) (?!(?:the |"
    r"this )?interview))|mood|behaviou?r|reaction|honest\w*|uneasy|hostil\w*|friendl\w*|"
    r"suspicious\w*|comprehension|understood|bored|impatient|at ease|interested in the interview)|"
    r"^this interview\b|"
    r"fragebogen(?:split|version|variante|form)\w*|questionnaire (?:split|version|form|type|variant|half)|"
    r"^split(?: \w{1,2}| \d+|half)?$|^(?:(?:[a-z]|or|and|which|split|half|sample|form|questionnaire) )+"
    r"version\b|version (?:of|du|des|del|der|av) (?:the |this |la |le )?(?:"
    r"questionnaire|survey|form|ballot|data\w*|file|release|archive|instrument|fragebogen\w*|cuestionario)|"
    r"^split (?:half|sample|ballot)|self completion$|by proxy|mode of administration|(?:enkat|"
    r"formular)\w*version|"
    r"self completion (?:questionnaire|form|booklet|supplement)|"
    r"(?:questionnaire|booklet|supplement) (?:was )?(?:returned|completed|received|administered)|"
    r"\b(?:date|month|day|year|mode)\b.*\badministered\b|(?:interview|survey) (?:was )?administered|"
    r"administration (?:mode|date|month|language)|^(?:data )?(?:quality|validity) (?:flag|check|control|"
    r"indicator|score)|(?:edition|editions) ?typ\w*|^(?:formular|fragebogen|formulaire|formulario|"
    r"enkat)(?:typ|version|"
    r"variante)?(?: [a-z0-9])?$|(?:panel|sample|survey) (?:provider|vendor|source|supplier|firm|company|"
    r"institute)|"
    r"(?:respondent|web) panel$|attention (?:check|filter|test)|trap question|manipulation check|"
    r"straight ?lin\w+|speeders?\b|^(?:please |to show (?:that )?you are )?.*(?:paying attention|"
    r"reading (?:this )?"
    r"carefully)\b|"
    r"^embedded data\b|^(?:was|were|how \w+ was) (?:the |this )?respondents? (?:very |quite )?(?:un\w+ly|"
    r"friendly|hostile|(?:un)?cooperative|"
    r"nervous|(?:un)?interested|(?:im)?patient|(?:dis)?honest|suspicious|bored|(?:un)?willing|at ease|"
    r"alone)\b|^respondents? (?:was |were |is |seemed |"
    r"appeared )?(?:very |not )?"
    r"(?:interested|understood|willing|reluctant|nervous|friendly|cooperative)|"
    r"\b(?:during|throughout) (?:the |this )?interview(?:er)?\b|randomi[sz]\w+|(?:tilfeldig|slumpmassig|"
    r"zufallige?|aleatori[oa]) (?:\w*grupp\w*|grupo)|^stichprobe\w*|"
    r"^interview(?:form|art|modus|typ)\w*|^status (?:pa|of|de|der|av) (?:the |la )?\w+$|^(?:enhet|enhed|"
    r"device|gerat|"
    r"appareil|dispositivo|apparaat)\b.*\b(?:brukt|brugt|used|utilise|usado|utilizado|gebruikt|verwendet|"
    r"genutzt)\b|"
    r"^(?:muestra|echantillon|campione|amostra|steekproef|urval|utvalg|stikprove)\w*(?: \w+){0,3}$|matrix "
    r"(?:group|design|split)|(?:month|"
    r"day|week|date|"
    r"year|quarter|mode|language|method|country|place) of (?:the )?(?:data collection|fieldwork|interview\w*|"
    r"survey|"
    r"completion|enumeration)|(?:survey|interview|fieldwork|collection) (?:month|day|week|date|mode|method|"
    r"language|"
    r"period|quarter)|data collection|^(?:experimental )?(?:condition|treatment|arm|cell|group assignment|"
    r"vignette|"
    r"randomi[sz]ation)s?(?: \w{1,2}| group| assignment| number)?$|(?:treatment|experimental|control|"
    r"randomi[sz]ed) (?:group|"
    r"condition|arm)|distribution channel|(?:recruitment|contact|survey) (?:channel|source|method|link)|"
    r"(?:consent|agree|einverstanden|accept|willing)\w* (?:to|with|for) (?:participat\w+|tak\w+ part|join\w*|"
    r"be (?:contacted|"
    r"recontacted|interviewed|recorded)|the (?:processing|use|storage|recording)|(?:this|the) (?:study|"
    r"survey|research))|"
    r"\b(?:informed )?consent\b.*\b(?:participate|take part|study|survey|research|data|form|given)|"
    r"^(?:informed )?consent$|"
    r"^i have read\b|(?:read|understood) (?:and understood )?the (?:information|consent|above|terms)|"
    r"(?:prize|lucky) draw|raffle|gift card|voucher code|recontact|contacted? again|follow ?up (?:interview|"
    r"survey|study)|"
    r"(?:type|kind|tipo|art|typ|soort) (?:of |de |di |do |van )?(?:the )?(?:tele)?(?:phone|fono|telefono?|"
    r"telephone|"
    r"telefon)|(?:phone|telephone) (?:type|status|line)|landline (?:or|vs) (?:mobile|cell)|mobile (?:or|vs) "
    r"landline|"
    r"(?:cell|mobile) ?phone (?:sample|frame|interview)|^ea\b|enumeration area|"
    r"e ?mail(?: address)?$|\b(?:your|the) (?:e ?mail|phone number|telephone number|full name|name and)|"
    r"leave your\b|"
    r"(?:first|last|full|sur) ?name$|"
    r"(?:monat|datum|tag|art|sprache|modus|methode) (?:der|des) (?:befragung|erhebung|interviews?)|"
    r"befragungs(?:monat|"
    r"sprache|tag|modus|methode)|erhebungs(?:monat|sprache|tag|modus|methode)|(?:langue|mois|mode|date|"
    r"methode) (?:de "
    r"(?:l )?)?(?:enquete|entretien|questionnaire|passation|interview)|(?:mes|idioma|modo|fecha|lengua) de "
    r"(?:la )?"
    r"(?:entrevista|encuesta)|consentimiento|consentement|einwilligung|(?:lingua|mese|modo|data) (?:dell |"
    r"della )?"
    r"(?:intervista|indagine)|kontaktdaten|datenschutz"
)
"""What is judged or noted of an interview, its questionnaire, and the quality of its answers."""
_FLAG = re.compile(r"^(?:\w+ ){0,3}flag(?:ged)?\b(?: \w+){0,5}$")
_ABOUT_A_FLAG = re.compile(
    r"\b(?:national|confederate|rainbow|burn\w*|salut\w*|display\w*|fly\w*|the|our|a) flag\b"
)
_ID_NAME = re.compile(
    r"(?:id|ids|caseid|case_?id|idno|uniqid|qkey|respid|resp_?id|respondent_?id|respondentid|responseid|"
    r"serial(?:id)?|uuid|pid_?num|d_interview|numentre|record\w*|key|nomem_encr|casenum|case|respnr|lfdnr|"
    r"\w{1,9}_id|za_?nr|studyno\d?|identificador|folio|no_?cuestionario)"
)
_ID = re.compile(
    r"\b(?:unique|case|respondent|interview|record|serial|response|household|person|study|identification|"
    r"questionnaire) (?:id|identifier|number|nr|identification)\b|identifier|respondent id|"
    r"identifikationsnummer|identifikation|laufende nummer|studiennummer|^id\b|identifiant|identificador|"
    r"numero de (?:entrevista|cuestionario)"
)
_WEIGHT_NAME = re.compile(
    r"(?:\w*_)?(?:weights?|wghts?|wgts?|wts?|wtss\w*|wtssall\w*|wtssps|gewicht\w*|gew|poids|peso|pond\w*|"
    r"ponderador|ponderacion|faktor|factor|pspwght|dweight|pweight|anweight|wghtpew|wghtpt|"
    r"w\d{1,3}wt|s01[789]\w*|vikt|vekt|waga)(?:_?\w{0,12})?|weight\w*|w_weight|fexp|pesow?|"
    r"[a-z]{0,4}wgt\d*|[a-z]{0,4}wght|w\d+|wt\w{0,10}"
)
_SURE_WEIGHT = re.compile(
    r"(?:weight|wgt|wt|wght)(?:_?w?\d+)?|wtss\w*|(?:psp|p|d|an)we?i?ght|w\d+wt|w_weight|\w+_(?:weight|wgt|"
    r"wt)|weight_\w+"
)
_WEIGHT = re.compile(
    r"\b(?:weight|weights|weighting|wgt|gewicht|gewichtung|gewichtungsfaktor|designgewicht|ponderation|"
    r"poids|ponderacion|ponderador|factor de (?:expansion|ponderacion)|peso|pesi|ponderazione|ponderacao|"
    r"weegfactor|"
    r"gewichten|vikt|vekt|vaegt|waga|wagi|poststratification|post stratification)\b|gewicht"
)
_NOT_WEIGHT = re.compile(
    r"\b(?:kg|kilo\w*|pounds|lbs|body|how much do you weigh|height|overweight|carry weight|lose weight|"
    r"korper\w*)\b"
)

_POSSESSIONS = re.compile(
    r"^(?:(?:does )?(?:r|your household|you|the household|household)?(?: or (?:r s|your) (?:family|"
    r"household))? ?(?:have|has|own|owns|possess(?:es|ion)?|posee|tiene|su hogar (?:tiene|posee)|"
    r"votre foyer (?:possede|a)|besitzt ihr haushalt|household has)|number of|how many|n of|anzahl|"
    r"nombre de|numero de|cuant[oa]s|"
    r"possession|goods|household (?:possessions|goods|equipment|has|owns)|items? (?:owned|"
    r"in household))\b.*\b(?:car|cars|tv|television|computer|laptop|phone|telephone|internet|refrigerator|"
    r"washing machine|rooms|bicycle|"
    r"motorcycle|auto|telefon|kuhlschrank|lavadora|heladera|carro|coche|computadora|computador|ordenador|"
    r"ordinateur|voiture|celular|agua|alcantarillado|bedrooms|bathrooms|vehicles?|books|gun|guns)\b|"
    r"^own(?:s)? (?:a |an )?(?:car|home|computer|gun|tv)|have gun"
)


def bare_label(label: str) -> str:
    """Return a variable's label without the code of the question that may stand before its text: "Q12a. "."""
    head, rest = label[:LONG], label[LONG:]
    cut = re.sub(
        r"^\s*(?:[\[(]?[A-Za-z]{0,4}_?\d+[A-Za-z]{0,2}(?:[._]\d+[a-z]?)*(?:_[A-Za-z0-9]+)*[\])]?\s*[.:)\-–—]\s+|"
        r"[A-Z][A-Z0-9_]*_W\d+[.:]?\s+|[A-Z][A-Z0-9_]{2,}[.]\s+(?=[A-Z]))",
        "",
        head,
    )
    return (cut + rest).strip() or label


def kind_of(name: str, label: str | None, levels: Sequence[str]) -> Kind | None:
    """Return what a variable is if it is no question.

    Args:
        name: its name.
        label: its label.
        levels: the labels of its values, without refusals.
    """
    label = None if label is None else label[:LONG]
    bare, text = name[:LONG].casefold(), _without_name(plain(bare_label(label or "")), plain(name[:LONG]))
    if is_own_words(text, levels):
        return "text"
    if _is_noted(bare, text) or is_observed(text):
        return "paradata"
    if _is_weight(bare, text):
        return "weight"
    if _ID_NAME.fullmatch(bare) or (_ID.search(text) and not levels):
        return "id"
    asks = "?" in (label or "") or len(text.split()) > 8  # then a name such as "split" says nothing
    forms = [plain(v.replace("+", " plus")) for v in levels]
    thinks = asks_opinion(text) or are_opinions(forms)
    named = _PARADATA_NAME.fullmatch(bare) and not asks and not thinks and _is_title(text, levels)
    if named or (len(text.split()) < 16 and _PARADATA.search(text)):
        return "paradata"
    if is_demographic(bare, label or "", text, forms, levels):
        return "demographic"
    scale = len(levels) <= MOST_POINTS and is_ordered(levels)
    if not thinks and not scale and names_property(label or "", text):
        return "demographic"
    return "paradata" if are_months(forms) else None


def _without_name(text: str, name: str) -> str:
    """Return a label in its plain form without the variable's name, or its question's number, before it."""
    for head in (f"{name} ", f"{name.lstrip('q')} "):
        if len(head) > 1 and text.startswith(head) and any(map(str.isdigit, head)):
            return text[len(head) :]
    return re.sub(r"^(?:[a-z]{1,3}\d+[a-z]?(?: \d+[a-z]?)?) (?=[a-z])", "", text)


def _is_title(text: str, levels: Sequence[str]) -> bool:
    """Return whether a label may be the title of paradata: short, unlabelled, or of words of surveys."""
    return not levels or len(text.split()) < 3 or _OF_SURVEYS.search(text) is not None


_OF_SURVEYS = re.compile(
    r"\b(?:interview\w*|survey\w*|questionnaire\w*|ballot\w*|form|sampl\w*|country|pais|pays|land|wave|"
    r"vague|round|"
    r"version|split|mode|modus|device\w*|tablet|codes?|strat\w+|cluster|psu|fee|case|iso|respondents?|"
    r"data|fieldwork|"
    r"panel|language|start|end|date|time|treatment|condition|group|experiment\w*|consent|quota|"
    r"erhebung\w*|befragung\w*|enquete\w*|encuesta\w*|entrevista\w*|study|studie)\b"
)


def _is_noted(name: str, text: str) -> bool:
    """Return whether a variable was noted of the interview: a flag, a check, a version, a judgement."""
    if _JUDGED.search(text):
        return True
    named = (
        re.fullmatch(r"(?:\w+_)?flag(?:_\w+)?|\w*_?(?:attn|attention)_?(?:check|chk)?\d?", name) is not None
    )
    return (named or _FLAG.search(text) is not None) and _ABOUT_A_FLAG.search(text) is None


def _is_weight(name: str, text: str) -> bool:
    if _NOT_WEIGHT.search(text):
        return False
    if _WEIGHT.search(text) and len(text.split()) < 13:
        return True
    return _SURE_WEIGHT.fullmatch(name) is not None or (_WEIGHT_NAME.fullmatch(name) is not None and not text)


def is_possession(label: str) -> bool:
    """Return whether a label says that the household owns something, or how many there are."""
    return _POSSESSIONS.search(plain(bare_label(label))) is not None
