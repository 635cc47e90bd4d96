"""Responses that stand beside a scale: "Depends", "Not sure", "Neither of these", in several languages.

The forms are those of :func:`~gpo_ray.preferences.readers.respondents.words.plain`.
"""

from __future__ import annotations

import re

from gpo_ray.preferences.readers.respondents.words import plain

_UNSURE = re.compile(
    r"(?:(?:it|that|this) )?(?:all )?depends(?: .*)?|(?:it )?varies(?: .*)?|"
    r"(?:(?:i am|im|r is|am|is) )?(?:not (?:at all )?(?:sure|certain|decided)|"
    r"(?:havent|have not) decided|unsure|uncertain|undecided)|"
    r"(?:(?:das|es) )?(?:kommt (?:ganz )?(?:darauf|drauf) an|hangt (?:davon|ganz davon) ab)(?: .*)?|"
    r"(?:(?:ich )?bin (?:mir )?)?(?:nicht sicher|unsicher|unentschieden|unentschlossen)|"
    r"(?:(?:ca|cela) )?depend(?: .*)?|(?:(?:je )?(?:ne )?suis )?(?:pas sure?|incertaine?|indecise?)|"
    r"depende(?: .*)?|no (?:esta |estoy )?segur[oa]|indecis[oa]|insegur[oa]|"
    r"dipende(?: .*)?|non (?:sono |e )?(?:sicur[oa]|cert[oa])|incert[oa]|"
    r"nao (?:tem |tenho |esta |estou )?(?:a )?(?:certeza|segur[oa]|cert[oa])|"
    r"(?:(?:dat|het) )?(?:hangt (?:er ?van|daar ?van|er) (?:van )?af|ligt er ?aan)(?: .*)?|"
    r"(?:ben )?(?:niet zeker|onzeker|onbeslist)|weet (?:ik )?(?:het )?niet zeker|"
    r"(?:det )?(?:beror pa|kommer an pa|avhenger|afhaenger)(?: .*)?|"
    r"(?:ar |er )?(?:osaker|osakra|(?:inte|ej) saker|usikker|ikke sikker)|"
    r"(?:to )?zalezy(?: .*)?|nie jestem pew\w+|niepewn\w+|niezdecydowan\w+|(?:это )?зависит.*|не уверен.*"
)
"""Labels of those who do not decide. Between two sides they are the middle of a scale."""

_UNDECIDED = re.compile(
    r"undecided|uncertain|neutral|unentschieden|unentschlossen|indecis[oae]|incert\w+|onbeslist|"
    r"niezdecydowan\w+"
)
"""Those that are more often the middle of a scale than beside it."""

_BESIDE = re.compile(
    r"(?:none|neither|not any) (?:of )?(?:the )?(?:these|those|them|above|two|(?:\w+ )?(?:options|statements|"
    r"answers|responses|choices|alternatives))(?: .*)?|none appl(?:y|ies)|"
    r"(?:(?:i )?(?:have )?(?:never|not) heard|havent heard|never heard)(?: .*)?|"
    r"(?:heard of )?(?:but )?(?:i )?(?:cant|cannot|unable to) (?:rate|judge|choose|decide|evaluate)(?: .*)?|"
    r"(?:(?:i )?(?:have )?(?:never|not)|(?:i )?havent|(?:i )?(?:do not|dont|did not|didnt|never)) (?:yet "
    r")?(?:used?|"
    r"tried|try|visit(?:ed)?|seen|see|read|watch(?:ed)?|experienced|attended|been there|needed|dealt|had any|"
    r"have any)(?: (?:it|this|that|them|any|one|yet|with (?:it|this|them)))*|no (?:experience|contact)"
    r"(?: (?:of|with) .*)?|not applicable to me|(?:nicht|nie) (?:genutzt|benutzt|besucht|erlebt)|"
    r"(?:jamais|pas) (?:utilise|visite|essaye)e?|no (?:lo |la )?(?:he )?(?:usado|utilizado|visitado)|"
    r"(?:non (?:l )?ho (?:mai )?|mai )(?:usato|utilizzato|visitato)|(?:nunca|nao) (?:usei|utilizei|visitei)|"
    r"(?:niet|nooit) (?:gebruikt|bezocht)|(?:aldri[gt]?|ikke|inte|ej) (?:brukt|brugt|anvant|besokt|besogt)|"
    r"nie (?:korzystal\w*|uzywal\w*)|(?:some(?:thing|one)? |any )?(?:other|"
    r"else)(?: (?:answer|response|option|"
    r"please specify|specify|volunteered|opinion|view))*|something else|andere\w?(?: antwort| meinung)?|"
    r"sonstiges?|"
    r"autre(?: reponse)?|otr[oa](?: respuesta)?|altr[oa](?: risposta)?|outr[oa](?: resposta)?|anders|annat|"
    r"annet|andet|"
    r"inne|inna|другое|"
    r"no basis (?:to|for) judge?ment|no basis to judge|not familiar(?: .*)?|unfamiliar(?: .*)?|"
    r"not enough information(?: .*)?|(?:i )?(?:dont )?have (?:no|an) opinion(?: .*)?|"
    r"(?:kein\w*|nichts) (?:davon|von (?:beide[mn]|diesen|den)|der (?:genannten|beiden))(?: .*)?|"
    r"(?:kenne ich nicht|(?:noch )?nie (?:davon )?gehort)(?: .*)?|"
    r"kann (?:ich |mich )?nicht (?:beurteilen|entscheiden|einschatzen|wahlen)|"
    r"aucune? (?:de ces|des deux|de ceux|d(?: |en)).*|jamais entendu parler.*|(?:ne )?conna\w+ pas.*|"
    r"(?:ne )?peu[tx] pas (?:juger|choisir|decider).*|"
    r"ningun[oa] de .*|nunca (?:ha |he )?oido.*|no (?:l[oa] )?conoc\w+.*|"
    r"no pued[eo] (?:elegir|escoger|decidir|juzgar).*|"
    r"nessun[oa] (?:di|dei|degli|delle).*|mai sentit[oa].*|non (?:l[oa] )?conosc\w+.*|"
    r"non (?:so|puo|posso) (?:scegliere|decidere|giudicare).*|"
    r"nenhum[a]? (?:d[oea]s|del[ea]s|dess[ea]s|dest[ea]s).*|nunca ouviu.*|nao (?:[oa] )?conhec\w+.*|"
    r"nao (?:pode|posso|consegue|consigo) (?:escolher|decidir|avaliar).*|"
    r"geen van .*|(?:nog )?nooit (?:van )?gehoord.*|kent? (?:ik )?niet.*|"
    r"kan (?:niet|geen) (?:kiezen|keuze|beoordelen|oordel\w+).*|"
    r"(?:inget|ingen) a[vf] .*|ingetdera|aldri[gt]? hort.*|kanner (?:inte|ej|ikke) till.*|kjenner ikke.*|"
    r"kan (?:inte|ej|ikke) (?:valja|bedoma|ta (?:stallning|stilling)|avgora|velge|vaelge|bedomme|vurdere).*|"
    r"zad\w+ z .*|nie slysz\w+.*|ни один из.*"
)
"""Labels that lie on no scale, wherever they stand."""

_NONE = re.compile(
    r"none|neither(?: one)?|nothing|kein\w{0,2}|weder noch|aucune?|ni lun ni lautre|ningun[oa]?|nessun[oa]|"
    r"ne luno ne laltro|nenhuma?|geen|noch het een noch het ander|ingen|inget|inga|zaden|zadna|zadne"
)
"""Labels that are the end or the middle of some scales; beside one where their code is apart."""

_ALOUD = (
    r"vol|voln|volunteer(?:ed)?|spont|spontan\w*(?: nennung)?|espontan\w+|unprompted|dnr|(?:do not|dont|not) "
    r"read(?: out)?|nicht vorlesen|ne pas (?:lire|citer|suggerer)|non (?:cite|lu)|no le(?:er|ida?)|"
    r"non (?:leggere|letto)|nao ler|niet voorlezen|las (?:inte|ej) upp|ikke les\w*(?: opp| op)?|nie czytac"
)
_IS_ALOUD = re.compile(_ALOUD)
_BRACKETS = re.compile(r"[(\[<{]([^()\[\]<>{}]*)[)\]>}]")
_BEFORE = re.compile(rf"^\s*(?:{_ALOUD})\.?\s*[:.\-–—]\s*", re.IGNORECASE)
_AFTER = re.compile(r"\s*(?:[,:/\-–—]|\s)\s*(?:vol|volunteered|spontan\w*|espontan\w+)\.?\s*$", re.IGNORECASE)


def said(label: str) -> str:
    """Return a label without a note on how it came about, such as "(VOL.)" and "(nicht vorlesen)"."""
    bare = _BRACKETS.sub(lambda m: " " if _IS_ALOUD.fullmatch(plain(m[1])) else m[0], label)
    bare = _AFTER.sub("", _BEFORE.sub("", bare))
    return bare if plain(bare) else label


def is_undecided(label: str) -> bool:
    """Return whether a label such as "Undecided" is rather the middle of a scale, where no code tells."""
    return _UNDECIDED.fullmatch(plain(said(label))) is not None


def is_aside(label: str, apart: bool) -> bool:
    """Return whether a label may stand beside a scale that the others make.

    Args:
        label: the label.
        apart: whether its code is apart from the others, as 97 is from 1 to 4. "None" is the end of a scale
            where it is not.
    """
    form = plain(said(label))
    if apart and _NONE.fullmatch(form):
        return True
    return _BESIDE.fullmatch(form) is not None or _UNSURE.fullmatch(form) is not None
