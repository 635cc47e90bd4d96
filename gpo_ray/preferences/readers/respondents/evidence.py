"""Whether anything says that a variable of unordered answers asks for an opinion.

What is neither known as a demographic nor as an opinion is left out, with the reason: a property that no word
list knows would be a question otherwise, and who misses a question adds it to the codebook.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpo_ray.preferences.readers.respondents.opinions import are_opinions, asks_opinion

_LABEL = re.compile(
    r"\b(?:problem\w*|challenge\w*|issues?|priorit\w+|aims?|goals?|import\w+|wicht\w+|dringend\w*|urgent\w*|"
    r"problema\w*|herausforderung\w*|vot(?:e|ed|ing|es|ar|aria|er|erait|eriez|erebbe|asse|arias?|ado)|"
    r"wahl(?:en|t|absicht)?|elections?|eleccion\w*|elezion\w*|eleic\w*|elecoes|wybor\w*|glosowa\w*|"
    r"verkiez\w*|stem(?:men|t|te)?|valg\w*|riksdagsval\w*|stemt\w*|rosta\w*|candidat\w*|kandidat\w*|"
    r"opinion\w*|opini\w+|opinia\w*|meinung\w*|avis|mening\w*|oordeel|zdaniem|secondo lei|volgens u|"
    r"according to you|views?|sadzi|uwaza|concord\w*|discord\w*|agree\w*|accord\w*|acuerdo|einverstanden|"
    r"eens|zgadza\w*|statements?|aussagen?|affirmations?|frases?|support\w*|oppos\w*|apoy\w*|soutien|"
    r"sosteg\w*|apoio|apoiar\w*|unterstutz\w*|steun\w*|popier\w*|zwolenni\w*|przeciwni\w*|favou?r\w*|"
    r"fur oder gegen|for or against|voor of tegen|pour ou contre|for eller mot|a favor|approv\w*|approuv\w*|"
    r"aprueb\w*|aprob\w*|desaprob\w*|aprova\w*|desaprova\w*|performance|desempen\w*|handling|"
    r"democra\w*|demokra\w*|corrup\w*|korrup\w*|immigra\w*|migrants?|refug\w*|fluchtling\w*|uchodz\w*|"
    r"abortion\w*|aborto|avortement|schwangerschaftsabbr\w*|climate|clima|klima\w*|warming|nuclear\w*|"
    r"kernkraft\w*|atom(?:kraft|energie)\w*|death penalty|marijuana|inequal\w*|ungleich\w*|"
    r"proud\w*|pride|stolz\w*|fier\w*|orgull\w*|dumn\w*|trots\w*|stolt\w*|trust\w*|ufac|ufa|confi\w+|"
    r"fiduc\w*|vertrau\w*|vertrouw\w*|tillit\w*|zaufa\w*|likely|likelihood|recommend\w*|empfehl\w*|"
    r"prefer\w*|rather|choose|would you|wurden sie|direction|kierunk\w*|richtung|rumbo|future|zukunft|"
    r"avenir|expect\w*|hopes?|fears?|safe\w*|worr\w*|concern\w*|responsib\w*|cause[sd]?|blame\w*|better|"
    r"worse|poprawi\w*|pogorszy\w*|most people|people like|helpful|neighbou?rs?|qualities|values?|rights?|"
    r"should\w*|ought|allow\w*|ban|banned|attitude\w*|einstellung\w*|haltung\w*|feel\w*|think\w*|"
    r"benefit\w*|vantaggi\w*|ventaj\w*|nutzen|advantage\w*|justice|gerecht\w*|fair\w*|gobierna|"
    r"what is best|best (?:party|able)|qualificat\w+|etat d esprit|state of mind|leadership|enjoy\w*|"
    r"believ\w*|beliefs?|croy\w*|glaub\w*|creer?|credere|positions? on|governments?|gobierno|gouvernement|"
    r"governo|regierung|regering\w*|rzadu?|gay\w*|lesbian\w*|homosexu\w*|auslander\w*|auslandisch\w*|"
    r"einwander\w*|zuwander\w*|zuzug|migration|"
    r"more|less|fewer|mehr|weniger|satisf\w*|happ\w*|zufried\w*|matters?|improv\w*|measures?|maatregel\w*|massnahmen?|medidas?)\b|"
    r"思う|思い|考え|意見|賛成|反対|信用|信頼|今後|생각|의견|신뢰|认为|意见|信任|支持|反对"
)
_ANSWER = re.compile(
    r"\b(?:definitely|probably|certainly|should|shouldn ?t|prefer\w*|better|worse|support\w*|oppos\w*|"
    r"agree\w*|disagree\w*|concord\w*|discord\w*|aprueba|desaprueba|approv\w*|disapprov\w*|otimo|ruim|"
    r"proud|stolz|dafur|dagegen|voor|tegen|pour|contre|a favor|en contra|sollte\w*|devrait|deberia\w*|"
    r"powinn\w*|dobrym|zlym|widespread|hostile|uneingeschrankt\w*|begrenz\w*|unterbind\w*|verbieten|verboten|erlaubt?|legal\w*|"
    r"allowed|exciting|dull|boring|routine|too (?:much|little|many|few))\b"
)
STATEMENT_WORDS = 8
"""Words from which an answer is a statement to choose, such as one of two views."""


def suggests_opinion(text: str, forms: Sequence[str]) -> bool:
    """Return whether a label or the answers, in their plain forms, have words of opinions or of politics."""
    if asks_opinion(text) or are_opinions(forms) or _LABEL.search(text) is not None:
        return True
    said = sum(_ANSWER.search(form) is not None for form in forms)
    statements = sum(len(form.split()) >= STATEMENT_WORDS for form in forms)
    return said >= 2 or statements >= 2
