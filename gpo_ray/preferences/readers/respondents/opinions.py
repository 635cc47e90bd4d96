"""Whether a label or its answers ask what people think, so that a name such as "age" says nothing of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ASKS = re.compile(
    r"\b(?:should|ought|must|agree|disagree|favou?r|oppose|approve|disapprove|trust|confidence|satisf\w+|"
    r"dissatisf\w+|(?:in your |your |overall )?opinion\w*|view(?:s|ed)? (?:of|about|on|towards?)|"
    r"attitudes? "
    r"(?:to|towards?|about)|do you (?:think|believe|feel that|support|prefer|mind|regard the|"
    r"consider (?:the|that|it))|"
    r"would you (?:say|mind|support|prefer)|how (?:important|worried|concerned|much (?:of a|do you))|"
    r"importance (?:of|for|in)|important (?:to|that|for|in)|too (?:much|many|little|few|high|low|large|"
    r"small|"
    r"big|powerful|weak)|"
    r"relations?(?:hips)? (?:between|with|in|are|have|today)|race relations|(?:un)?fair(?:ly)?|treated|"
    r"treatment|discriminat\w*|"
    r"spend(?:ing)?|cuts|funding|ideal\w*|prefer(?:red|s)?|conflicts?|tensions?|attached|attachment|"
    r"differences?|gap|inequalit\w*|equal\w*|better|worse|good|bad|justif\w+|acceptable|problems?|"
    r"threat\w*|"
    r"worr\w+|concern(?:s|ed)? (?:about|that)?|concerns?|influence|impact|effect|feelings? (?:about|"
    r"towards?)|"
    r"part(?:y|ies) (?:closest|nearest|best) (?:to|for|on|at|able)|best (?:party|able) (?:to|for|on)|"
    r"(?:dis)?likes? (?:the|about)|like dislike|(?:is|are) (?:a|an|the)? ?(?:\w+ )?(?:necessary|harmful|"
    r"natural|duty|right|wrong|danger\w*)|people who|most people|state of|national identity|power of|"
    r"role (?:of|in)|(?:play|plays|playing) (?:a|an|the) (?:\w+ )?role|performance|handling|quality of|"
    r"sollten?|soll|muss|mussen|vertrauen|zufrieden\w*|meinung|halten sie|finden sie|wichtig\w*|"
    r"unterschiede|zu (?:viel|wenig|hoch|niedrig|gross|klein)|gerecht|ungerecht|"
    r"devrai\w*|doi(?:t|vent)|faut|confiance|pensez vous|estimez vous|trouvez vous|d ?accord|favorable|"
    r"importan\w+ (?:de|d|que|est|sont|da|do|che|is|att)|trop|inegalites|satisfait\w*|"
    r"deber\w+|debe|deben|confianza|cree usted|piensa usted|acuerdo|opina|demasiad\w+|desigualdad|"
    r"satisf\w+|dovrebb\w+|deve|devono|fiducia|pensa che|ritiene|soddisf\w+|troppo|"
    r"deveria\w*|devem|confianca|acha que|powinn\w+|zaufanie|zadowolon\w*|vertrouwen|tevreden|"
    r"zou(?:den)? moeten|moet(?:en)?|fortroende|tillit|nojd|bor (?!du\b)(?:\w+ )?(?:ha|vara|inte|fa|"
    r"minska|oka)|borde|skal|burde)\b"
)
_ABOUT_OTHERS = re.compile(
    r"\b(?:left right|liberal conservative|links rechts|gauche droite|izquierda derecha|vanster hoger)\b"
    r"(?!.*\b(?:self|yourself|respondent|selbst\w*)\b).*\b(?:party|parties|partei|parti|partido|candidate|"
    r"president|leader)\b"
)
_ABOUT_SELF = re.compile(
    r"\b(?:(?:think|describe|consider|see|regard|call|place|put|identify) (?:of )?(?:your ?self|r ?self|"
    r"self|"
    r"themselves|oneself)|closer? to (?:a|any|one|this|the|which|particular)\b.*\bpart(?:y|ies)|"
    r"vous sentez vous|"
    r"sentez vous|vous situez|situez vous|se siente|se considera|stufen sie sich|sich selbst)\b"
)
_THINKS = re.compile(
    r"\b(?:(?:dis)?agree\w*|(?:dis)?approv\w+|favou?r\w*|oppos\w+|(?:dis|mis)?trust\w*|confiden\w+|"
    r"(?:dis)?satisf\w+|too \w+|(?:un)?important|(?:un)?acceptable|(?:un)?justif\w+|good|bad|better|worse|"
    r"worried|concerned|(?:un)?fair|wrong|about right|support\w*|"
    r"stimme\w*|lehne\w*|(?:un)?zufrieden|(?:un)?wichtig|vertrau\w+|dafur|dagegen|zu (?:viel|wenig|hoch|"
    r"niedrig)|gerecht|ungerecht|daccord|d accord|(?:in)?satisfaite?|importante?|confiance|trop|"
    r"(?:des)?acuerdo|(?:in)?satisfech\w+|confianza|demasiad\w+|d ?accordo|soddisfatt\w+|fiducia|concordo|"
    r"discordo|eens|oneens|tevreden|nojd|missnojd|fortroende|forslag|enig|uenig|zgadzam)\b"
)
_SECOND_PERSON = re.compile(
    r"\b(?:you|your|yours|yourself|r|rs|respondents?|sie|ihr|ihre[nmrs]?|vous|votre|vos|usted|su|sus|te|tu|"
    r"lei|suo|sua|suoi|voce|seu|u|uw|du|din|ditt|dina|pan|pani|deg)\b"
)


def is_about_others(text: str) -> bool:
    """Return whether a label in its plain form places parties or politicians on a scale."""
    return _ABOUT_OTHERS.search(text) is not None


def asks_opinion(text: str) -> bool:
    """Return whether a label in its plain form asks what the respondent thinks of something."""
    if is_about_others(text):
        return True
    return _ASKS.search(text) is not None and _ABOUT_SELF.search(text) is None


def are_opinions(forms: Sequence[str]) -> bool:
    """Return whether most answers in their plain form say what one thinks: "too high", "agree"."""
    thinks = sum(_THINKS.search(form) is not None for form in forms)
    return thinks >= 2 and 2 * thinks >= len(forms)


_STATES = re.compile(
    r"^(?:(?!what|which|who|where|how|whether|r|you)\w+ ){1,5}(?:is|are|was|were|has|have|had|gets?|"
    r"wants?|needs?|makes?|"
    r"gives?|takes?|causes?|deserves?|cannot|cant|can|could|will|would|does|do|ist|sind|hat|haben|wird|"
    r"werden|"
    r"kann|konnen|est|sont|ont|peut|peuvent|es|son|han|tienen?|puede|sono|hanno|puo|ar|har|kan)\b (?!\w+$)?"
)
"""A subject and its verb: "Religion is a source of conflict"."""


def is_sentence(label: str, text: str) -> bool:
    """Return whether a label is a whole question or statement rather than the title of a variable."""
    if _STATES.search(text) and not speaks_of_respondent(text):
        return True
    return (
        "?" in label
        or (label.rstrip().endswith((".", "!")) and len(text.split()) > 4)
        or len(text.split()) > 8
    )


def speaks_of_respondent(text: str) -> bool:
    """Return whether a label in its plain form speaks to or of the respondent."""
    return _SECOND_PERSON.search(text) is not None
