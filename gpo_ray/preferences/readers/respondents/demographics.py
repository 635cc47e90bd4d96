"""Recognise demographics by names, labels and labels of values, in several languages.

A label of a demographic is made of few words ("Age of respondent, recoded"), all of which are in a
vocabulary, or it asks for a fact about the respondent in a phrase that is known; a question that mentions age
or sex has other words too. Labels of values tell where the label does not: "Married", "Widowed".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpo_ray.preferences.readers.respondents.opinions import (
    are_opinions,
    asks_opinion,
    is_about_others,
    is_sentence,
    speaks_of_respondent,
)
from gpo_ray.preferences.readers.respondents.vocabulary import FILLERS, NOUNS
from gpo_ray.preferences.readers.respondents.words import plain

_PHRASES = re.compile(
    r"(?:your|r s|rs) (?:\w+ )?political (?:views|outlook|philosophy)|\bzip ?code|postal code|postleitzahl|"
    r"sind sie (?:zurzeit |derzeit )?(?:\w+ )?(?:berufstatig|erwerbstatig|verheiratet)|parent or guardian|"
    r"(?:what|which) (?:is|was|best describes|are) your (?:\w+ ){0,3}(?:age|sex|gender|race|ethnic\w*|"
    r"religio\w*|marital|education\w*|income|occupation|"
    r"job|employment|nationality|citizenship|birth|household|family income|zip|state|region|"
    r"sexual orientation)\b|"
    r"\bhow old (?:are|were) you|(?:what|in what|in which|which) year (?:were you|was r|"
    r"was the respondent) born|year (?:of|you were) birth|year of birth|"
    r"date of birth|year born|\bbirth ?year\b|month of birth|highest (?:level|grade|degree|year|"
    r"educational|education|diploma)\b.*|"
    r"years of (?:full time |formal )?(?:education|schooling|school)|(?:r s|rs|respondents?s?|spouses?|"
    r"mothers?|fathers?|partners?) (?:\w+ )?(?:highest|degree|education|"
    r"occupation|employment|income|sex|age|race|religio\w*|party)\b|"
    r"\battend(?:s|ance|ed|ing)?\b.*\b(?:religious|church|services|mass|worship|mosque|synagogue)|"
    r"(?:religious|church|service) (?:service )?attendance|"
    r"how often (?:do you|does r|r) pray\b|religious preference|religious denomination|(?:present|"
    r"current) religion|consider yourself (?:a )?(?:\w+ )?(?:religious|christian|born again)|"
    r"(?:born again|evangelical)\b.*|belong(?:ing|s)? to (?:a )?(?:\w+ )?(?:religion|denomination|"
    r"religious|church|minority)|how religious (?:are you|is r)|religious person|how fundamentalist|"
    r"(?:think of|consider|call|describe|place|see) (?:your ?self|r ?self|self|themselves).*(?:republican|"
    r"democrat|liberal|conservative|left|right|hispanic|latino|white|black|class|gay|straight)|"
    r"(?:republican|democrat)\w*\b.*\b(?:independent|lean)|\blean(?:s|ing)?\b.*\b(?:republican|democrat)|"
    r"party (?:id|identification|affiliation|summary|registration|preference|lean)|"
    r"7 ?(?:pt|point) (?:scale )?(?:party|ideology|liberal conservative self)|"
    r"liberal conservative self ?placement|self ?placement.*(?:left|right|liberal)|"
    r"(?:left right|rightleft|leftright|right left)\b.*(?:scale|placement|self|position)|"
    r"political (?:party )?(?:affiliation|ideology|orientation|self placement)|think of self as liberal|"
    r"(?:placement|place|position) on (?:the )?left right|subjective (?:social )?class|social class|"
    r"class identification|"
    r"(?:voted?|vote choice|vote intention|vote in elections?|voting)(?: \w+){0,4} (?:last|20\d\d|19\d\d|"
    r"national|election|president\w*|party|house|senate|tomorrow|parliament\w*|level)|"
    r"(?:did|do|does) (?:r|you|respondent) vote\b|\bfor (?:whom|who) did\b.*\bvote|who did (?:you|r) vote|"
    r"(?:which|what) party (?:would|did|do|r)\b.*\bvot|party voted for|eligible to vote|"
    r"registered to vote|registered voter|"
    r"voted? (?:for )?(?:obama|trump|clinton|biden|romney|mccain|bush|kerry|gore|harris)|"
    r"(?:feel )?closer? to (?:a |any )?(?:particular |political )?part(?:y|ies)|"
    r"member of (?:a )?(?:political party|trade union|labor union|labour union)|"
    r"(?:marital|relationship|employment|work|labor force|labour force|occupational|housing|citizenship|"
    r"immigration|working|job) status|"
    r"legal marital|legally married|currently married|are you (?:now |currently |"
    r"presently )?(?:\w+ )?(?:married|employed|working|retired|a citizen|hispanic|male|registered)|"
    r"(?:ever )?been (?:divorced|widowed|married)|"
    r"live with (?:your )?(?:parents|partner|husband|wife)|living with (?:parents|husband|partner)|"
    r"(?:husband|wife) (?:\w+ )?partner\b|"
    r"(?:total|family|household|personal|annual|gross|net) (?:\w+ ){0,3}income|(?:scale of|main source of|"
    r"source of) (?:\w+ )?incomes?|\bincome (?:category|bracket|quintile|decile|tier|group|last year|"
    r"range)|"
    r"number (?:of )?(?:\w+ ){0,2}(?:children|people|persons|adults|members|kids|brothers|siblings|"
    r"household|living|hours worked)|how many (?:children|adults|kids|brothers|siblings)\b|"
    r"how many (?:people|persons) (?:\w+ )?(?:live|living|in your household|in (?:the )?household)|"
    r"(?:household|family) (?:size|composition|members)|(?:own|rent)s? (?:or (?:own|rent)s? )?(?:your |"
    r"their |his |the )?(?:home|house|dwelling|apartment)|dwelling (?:is )?own|home ?owner\w*|"
    r"type of (?:community|place|dwelling|structure|locality|settlement|area)|"
    r"(?:size|population) of (?:town|place|community|city|settlement|municipality|locality)|town ?size|"
    r"settlement size|(?:urban|rural)\b.{0,3}\b(?:rural|urban|suburban).*|"
    r"^region\b|region (?:where|in which|code)|(?:census|metropolitan) (?:region|division|area)|"
    r"place of residence|"
    r"(?:was r|were you|respondent|r|mother|father|parents?|grandparents?) (?:\w+ )?(?:born|immigrant)\b|"
    r"born in (?:this|the|another)? ?country|country of (?:birth|origin|residence)|birth country|"
    r"countries? of birth|"
    r"^(?:\w+ )?citizen of\b|citizen of (?:this |the )?(?:country|us|usa|united states)|^(?:r s |rs |"
    r"respondents? |your )?(?:nationality|citizenship)\b|immigrant (?:status|background)|"
    r"years? in (?:the )?(?:us|usa|united states)\b|"
    r"(?:language)\b.*\b(?:home|spoken|interview|most often)|language at home|mother tongue|"
    r"native language|"
    r"racial (?:identity|background|category|group)|race (?:and|or) ethnic\w*|race of|ethnic (?:group|"
    r"origin|background|minority|identity)|hispanic (?:origin|or latino|ethnicity|background)|"
    r"^(?:are you |r )?(?:of )?hispanic\b|skin colou?r|ancestry|"
    r"sexual orientation|sexornt|gender identity|(?:are you|identify as|consider yourself) transgender|"
    r"zodiac|astrological|(?:served?|serving|years|ever been|active duty) (?:\w+ ){0,3}(?:armed forces|"
    r"military)|veteran status|\ba veteran\b|"
    r"(?:doing|main activity) last 7 days|main activity|employment (?:relation|contract|sector)|(?:full|"
    r"part) time (?:student|employed)|hours (?:\w+ )?work\w*|sector of employment|"
    r"chief wage earner|supervis\w+ (?:other )?(?:employees|people|others)|occupational (?:group|prestige|"
    r"status)|ever unemployed|self emp\w*|unemployed and seeking|work for pay|"
    r"(?:age|educat\w+) (?:when )?(?:completed|finished|stopped|at which|full ?time|group\w*|categor\w*|"
    r"recoded?|exact|of r\w*)|age of respondent|respondents? age|age education|"
    r"difficult\w* paying (?:your )?bills|subjective income|feeling about household s? ?income|"
    r"family savings|"
    r"wie alt sind sie|hochste\w* (?:\w+ )?(?:schul|bildung|abschluss)\w*|schulabschluss|"
    r"welche\w* (?:schul|beruf|konfession|religion|staatsangeh)\w*|links rechts|geboren|kirchg|"
    r"wahlabsicht|gewahlt|sonntagsfrage|"
    r"verheiratet|familienstand|haushaltsnetto\w*|nettoeinkommen|parteineigung|leben in ihrem haushalt|"
    r"subjektive schicht|staatsangehorigkeit|"
    r"quel (?:est votre )?age|votre age|quel age|vous etes (?:un homme|une femme)|annee de naissance|"
    r"situation (?:familiale|professionnelle|matrimoniale)|niveau d ?(?:etudes|instruction|diplome)|"
    r"dernier diplome|categorie socio\w*|taille (?:de la commune|d ?agglomeration|du foyer)|"
    r"statut d ?emploi|gauche droite|proximite (?:politique|partisane)|frequentation (?:religieuse|"
    r"des offices)|"
    r"cual es su (?:edad|sexo|religion|estado civil)|que edad|ano de nacimiento|nivel (?:de )?(?:estudios|"
    r"educa\w+|instruccion)|estado civil|situacion (?:laboral|ocupacional)|izquierda derecha|"
    r"escala ideologica|"
    r"clase social|ingreso (?:familiar|mensual)|por (?:que|cual) partido (?:vot|usted)\w*|"
    r"intencion de voto|recuerdo de voto|identificacion (?:del? )?(?:pais|partid)\w*|tamano de (?:ciudad|"
    r"habitat|municipio)|practica religiosa|"
    r"anno di nascita|titolo di studio|stato civile|condizione (?:professionale|occupazionale)|"
    r"sinistra destra|pratica religiosa|"
    r"ano de nascimento|grau de (?:instrucao|escolaridade)|nivel de escolaridade|esquerda direita|"
    r"renda (?:familiar|mensal)|cor ou raca|"
    r"hoogst\w* (?:\w+ )?opleiding|burgerlijke staat|links rechts|fodelsear|fodselsar|hogsta utbildning|"
    r"vanster hoger|venstre hoyre|"
    r"rok urodzenia|stan cywilny|poziom wyksztalcenia|praktyki religijne|miejsce zamieszkania"
)

_FACTS = re.compile(
    r"ethnic (?:community|communities|tribe)|\b(?:tribe|clan|caste)\b|"
    r"are you (?:currently |now )?(?:a |an )?(?:\w+ ){0,2}(?:citizen|member of (?:a |an |the |"
    r"any )?(?:\w+ ){0,2}"
    r"(?:church|party|union))|(?:trade |labou?r )?union member\w*|member(?:ship)? (?:of|in) (?:a |an |"
    r"the )?"
    r"(?:trade |labou?r )?(?:union|church|party)|medborgare i|medlem i (?:\w+ ){0,2}(?:kyrka\w*|parti\w*|"
    r"fack\w*)|mitglied(?:schaft)? (?:in |einer |der )*(?:gewerkschaft|partei|kirche)|"
    r"(?:membre|adherent) d ?(?:un |une )?(?:syndicat|parti)|(?:miembro|afiliad\w+) (?:de|a) (?:un |una )?"
    r"(?:sindicato|partido|iglesia)|citoyen(?:ne)? (?:de|francais\w*)|ciudadan[oa] (?:de|espanol\w*)|"
    r"(?:gauche|izquierda|sinistra|esquerda|links|linken|vanster|venstre|left)\b.*\b(?:droite|derecha|"
    r"destra|"
    r"direita|rechts|rechten|hoger|hoyre|right)\b.*\b(?:(?:vous )?(?:situez|situeriez|placez|placeriez|"
    r"classez) vous|vous (?:situez|placez|meme)|se (?:ubica\w*|situa\w*|coloca\w*)|si colloca\w*|sich\b.*\b"
    r"(?:ein\w+|stellen|stufen)|yourself|du (?:dig|deg)|dig sjalv)|"
    r"(?:situez|situeriez|placez|placeriez|positionnez) vous\b.*\bgauche\b.*\bdroite|"
    r"(?:ubica\w*|situa\w*|coloca\w*|colloc\w*)\b.*\b(?:izquierda|sinistra|esquerda)\b.*\b(?:derecha|"
    r"destra|direita)|"
    r"neig\w+ sie\b.*\bpartei|\b(?:have|has) (?:a|any) religion|rent or own|own or rent|"
    r"(?:svensk|norsk|dansk) (?:medborgare|statsborger)|(?:parti|partei|partido|partito|"
    r"partij)\b.*\b(?:proches?|sentez|cerca\w*|vicin\w+|neig\w+|"
    r"nahe\w*|bast om|narmast|best (?:an|om))\b|"
    r"party\b.*\b(?:likes? (?:the )?(?:best|most)|liked (?:the )?(?:best|most)|closest(?! to (?:own|your|my|"
    r"rs?) (?:s )?(?:own )?(?:views?|position|opinion)))|"
    r"(?:best liked|closest|nearest|preferred) (?:political )?party|"
    r"close(?:ness|r|st)? to (?:this|a|any|one|which|your|the|political)\b(?: \w+){0,2} ?part(?:y|ies)|"
    r"close to political party|supporter of (?:any |a |one )*(?:political )?party|"
    r"how strong (?:a |an )?(?:supporter|partisan|identif\w*)|strength of (?:party|partisan)\w*|"
    r"proprietaire ou locataire|own(?:er)? or (?:a )?(?:tenant|renter)|owner occup\w*|"
    r"(?:eigentumer|mieter) oder|propietari[oa] o inquilin|"
    r"ns ?sec|socio ?economic (?:class|group|status|classif\w*|grade)|analytic class|social grade|"
    r"referendum vote|vote (?:in|at) (?:the )?(?:\w+ ){0,2}referendum|(?:voter )?turnout (?:in|at)\b|"
    r"cast (?:a |an |your |their |his |her )?(?:ballot|vote)\b|"
    r"(?:living|live) in (?:a )?(?:steady |life |civil |registered )*partnership|(?:steady|"
    r"life) (?:life )?partner|"
    r"country specific (?:\w+ ){0,5}(?:degree|education|region|income|party|ethnic\w*|occupation)|"
    r"top (?:and )?bottom (?:self|of society\b.*yourself)|bottom top self|"
    r"(?:put|place|see|describe|consider) yourself (?:as |on |in )(?:\w+ ){0,3}(?:religious|scale|"
    r"society|ladder|"
    r"class)|describe yourself as|se considera (?:usted )?(?:religios\w+|una persona)|"
    r"var bor du|hvor bor du|where do you (?:\w+ )?live|ou (?:habitez|vivez) vous|wo wohnen sie|donde vive|"
    r"dove (?:abita|vive)|onde mora|waar woont|gdzie (?:pan|pani)?\w* ?mieszka"
)
"""More facts that respondents state about themselves: what they belong to, where they stand and live."""

_OPINION = re.compile(
    r"\b(?:should|ought|importan\w+|agree|disagree|favou?r|oppose|approve|trust|confidence|satisf\w+|"
    r"opinion|"
    r"government|discriminat\w*|problems?|"
    r"acceptable|justif\w+|too (?:much|many|little|few)|threat|worr\w+|concern\w*|immigrants|women|blacks|"
    r"most people|people who|better|worse|believe|"
    r"sollten?|vertrauen|zufrieden\w*|meinung|devrai\w+|confiance|deberia\w*|confianza|opinion|"
    r"dovrebbe\w*|fiducia|deveria\w*|"
    r"satisfecho|satisfait|soddisfatt\w+|powinn\w+|zaufanie|vertrouwen|tevreden|fortroende|tillit)\b"
)
"""Words of opinions: where they occur, a phrase of a demographic is a part of what is asked about."""

_NAMES = re.compile(
    r"(?:f|dem|demo|demog|pp|prof|profile|p|x|rec|resp|r|q|s|d|sd)?_?"
    r"(?:sex|gender|gndr|gender_?cat|age|agea|age_?(?:cat|grp|group|4|5|6|7|r|recode|exact)?|agecat\d?|"
    r"yrbrn|birth_?yr|birth_?year|yob|cohort|generation|race|racethn?|race_?eth\w*|racecmb|racethnmod|"
    r"racehisp|"
    r"ethnic\w*|hisp\w*|educ|educ\w*|eisced|eduyrs|edulvl\w*|degree|isced\w*|inc|income\w*|inc_sdt1|"
    r"hinctnt\w*|rincom\w*|realinc|coninc|marital\w*|marstat?|maritalb|relig|religcat\d?|religion|rlgblg|"
    r"rlgdn\w*|"
    r"rlgdgr|rlgatnd|denom\d*|attend|attendance|reliten|born|bornagain|pray|fund|party|partyid\w*|pid\d?|"
    r"pid_?\w{0,3}|partyln\w*|partysum\w*|ideo|ideo\d?|ideology|polviews|lrscale|leftright|"
    r"region|cregion|census_?region|cdivision|division|state|metro|urbanicity|usr|usr_selfid|urbrural|"
    r"domicil|xnorcsiz|srcbelt|size|nuts\w*|citizen\w*|uscitzn|ctzcntr|brncntr|"
    r"cntbrth|facntr|mocntr|blgetmg|nationality|natl|hhsize|hhmmb|hompop|childs|children|kids|parent|"
    r"own_?home|dwelown|tenure|lang|language|lnghom\d|empl\w{0,6}|emplrel|wrkstat|occ\d*|occup\w*|"
    r"isco\w*|prestg\w*|indus\d*|mnactic|mainact|uempla?|vote\d{0,4}|pres\d\d|voted\w*|if\d\dwho|prtv\w*|"
    r"prtcl\w*|clsprty|volsum|reg|class|sexornt|lgbt\w*|zodiac|vet|veteran|vetyears|mbtru|"
    r"union|partliv|topbot|[a-z]{2}_(?:degr|reg|rinc|inc|prty|ethn\d?|relig|size)|"
    r"geschlecht|alter|bildung|einkommen|sexe|sexo|edad|idade|sesso|eta|geslacht|leeftijd|kjonn|alder|"
    r"plec|wiek|inctier|inc_tier\d?|intuser|intfreq|relimp)"
    r"(?:_?(?:final|w\d+|r|cat|rec|recode|grp|group|\d))*"
)
_PREFIXES = re.compile(
    r"f_[a-z]|pp(?:age|educ|gender|eth|hh|inc|marit|reg|rent|work|emp|hous|msa|state|kid|t\d|net|race|cm)|"
    r"demo?_|sd\d|sociodem"
)
_LEVELS: dict[str, tuple[re.Pattern[str], float, int]] = {
    "sex": (
        re.compile(
            r"(?:a )?(?:male|female|man|woman|men|women|m|f|boy|girl|mann|frau|mannlich|weiblich|divers|"
            r"homme|femme|masculin|feminin|hombre|mujer|masculino|femenino|"
            r"varon|uomo|donna|maschio|femmina|homem|mulher|feminino|vrouw|kvinna|kvinne|kvinde|mand|"
            r"mezczyzna|kobieta|мужчина|женщина|мужской|женский|"
            r"男|女|男性|女性|erkek|kadin|ذكر|انثى|nonbinary|non binary|in some other way|some other way|"
            r"transgender|other|another gender|third gender|altr[oa]|otr[oa]|autre|andere|annat|anders|outro|"
            r"inna|"
            r"prefer to self describe|non binary third gender|self describe|diverse)"
        ),
        1.0,
        2,
    ),
    "marital": (
        re.compile(
            r".*\b(?:married|widow(?:ed|er)?|divorced|separated|cohabit\w*|single|living (?:together|"
            r"with (?:a )?partner)|never been married|verheiratet|ledig|geschieden|verwitwet|"
            r"marie|mariee|celibataire|divorcee?|veufs?|veuve|casad[oa]s?|solter[oa]s?|divorciad[oa]s?|"
            r"viud[oa]s?|separad[oa]s?|coniugat[oa]|celibe|nubile|vedov[oa]|divorziat[oa]|solteir[oa]|"
            r"viuv[oa]|"
            r"gehuwd|ongehuwd|gescheiden|weduwe|gift|ogift|ugift|skild|skilt|anka|enke|zonaty|zamezna|"
            r"rozwiedzion\w*|wdow\w*|kawaler|panna)\b.*"
        ),
        0.6,
        2,
    ),
    "religion": (
        re.compile(
            r".*\b(?:catholic|protestant|orthodox|jewish|jew|muslim|islam|hindu|buddhist|mormon|atheist|"
            r"agnostic|christian|islam\w*|buddhism|hinduism|anglican|church|no religion|evangelical|lutheran|"
            r"baptist|methodist|anglican|katholisch|evangelisch|"
            r"muslimisch|judisch|catholique|protestante?|musulmane?|juive?|catolic[oa]|evangelic[oa]|"
            r"judi[oa]|cattolic[oa]|rooms katholiek|protestants|katolik|katolickie)\b.*"
        ),
        0.5,
        3,
    ),
    "race": (
        re.compile(
            r".*\b(?:white|black|african american|hispanic|latino|asian|native american|american indian|"
            r"pacific islander|mixed race|multiracial|caucasian|mestizo|indigena|mulato|blanco|negro|"
            r"branca|preta|parda)\b.*"
        ),
        0.5,
        3,
    ),
    "education": (
        re.compile(
            r".*\b(?:high school|college|bachelors?|masters?|doctor\w*|phd|postgrad\w*|graduate|associate|"
            r"degree|diploma|qualifications?|certificate|elementary|primary|secondary|tertiary|isced|"
            r"university|vocational|"
            r"no (?:formal )?(?:education|schooling)|"
            r"hauptschul\w*|realschul\w*|abitur|fachhochschul\w*|hochschul\w*|mittlere reife|bac|"
            r"baccalaureat|licence|primaire|secondaire|superieur|primari[ao]|secundari[ao]|"
            r"universitari[ao]|bachillerato|licenza media|laurea|diploma|"
            r"ensino|fundamental|superior|vmbo|havo|vwo|mbo|hbo|wo|gymnasium|grundskola|grunnskole|"
            r"podstawow\w*|srednie|wyzsze)\b.*"
        ),
        0.6,
        3,
    ),
    "work": (
        re.compile(
            r".*\b(?:employed|unemployed|retired|student|paid employment|job ?seeker|studying|pensioner|"
            r"housekeeping|homemaker|housewife|keeping house|full time|"
            r"part time|disabled|self employed|paid work|looking for work|in school|laid off|"
            r"temp not working|"
            r"erwerbstatig|arbeitslos|rentner|rente|hausfrau|hausmann|studium|schuler|vollzeit|teilzeit|"
            r"actif|chomeur|chomage|retraitee?|etudiante?|au foyer|emploi|"
            r"empleado|desempleado|parado|jubilad[oa]|pensionista|estudiante|ama de casa|asalariado|"
            r"occupat[oa]|disoccupat[oa]|pensionat[oa]|casalinga|studente|"
            r"empregad[oa]|aposentad[oa]|reformad[oa]|estudante|dona de casa|werkend|werkloos|"
            r"gepensioneerd|arbetslos|pensionar|arbeidsledig|pensjonist|emeryt\w*|bezrobotn\w*)\b.*"
        ),
        0.5,
        3,
    ),
    "place": (
        re.compile(
            r".*\b(?:rural|urban|suburban?s?|city|town|village|countryside|farm|grossstadt|kleinstadt|"
            r"dorf|ville|campagne|ciudad|pueblo|citta|campagna|aldeia|dorp|stad|landsbygd|wies|miasto)\b.*"
        ),
        0.6,
        3,
    ),
    "party": (
        re.compile(
            r"(?:.*\b(?:republican|democrat|independent|lean\w*|something else|labour|conservatives?|"
            r"liberal democrats?|spd|cdu|csu|fdp|afd|psoe|vox|podemos)\b.*|pp|green|greens|other|"
            r"other party)"
        ),
        0.7,
        3,
    ),
    "ideology": (
        re.compile(
            r"(?:very |slightly |extremely |somewhat |moderately )?(?:liberal|conservative|moderate|"
            r"left wing|right wing)(?: middle of (?:the )?road)?"
        ),
        0.8,
        3,
    ),
}
"""For each kind of demographic: what its levels look like, the least share of labels that do, and their
least number."""

_AGES = re.compile(
    r"(?:age )?\d{1,2} ?(?:to |bis |a |y |- ?)?\d{2}(?: (?:years?|jahre|ans|anos|anni|lat|ar|"
    r"jaar))?(?: old| alt)?|(?:under|below|unter|moins de|menos de|up to) \d\d\b.*|"
    r"\d\d (?:years? )?(?:and|or|und|et|y|e|en|i)? ?(?:over|older|more|above|alter|plus|mas|mehr)|"
    r"\d\d (?:ans )?et plus|\d\d plus"
)
_MONEY = re.compile(
    r"[$€£¥₹]|\b\d{1,3}[.,' ]000\b|\b\d{2,3}k\b|\b(?:usd|eur|euros?|dollars?|decile|quintile|\d+(?:st|nd|"
    r"rd|th) (?:decile|quintile)|dezil)\b",
    re.IGNORECASE,
)


def is_demographic(name: str, label: str, text: str, forms: Sequence[str], levels: Sequence[str]) -> bool:
    """Return whether a variable is a demographic.

    Args:
        name: its name in lower case; it says nothing where the label asks for an opinion.
        label: its label.
        text: its label in its plain form.
        forms: the labels of its values in their plain form.
        levels: the labels of its values.
    """
    fits = _has_demographic_levels(forms, levels)
    bare = plain(_BRACKETS.sub(" ", label))
    opinion = asks_opinion(bare or text)  # brackets may list codes: "9 = prefer not to say"
    if not text or (_PREFIXES.match(name) and not opinion):
        return _PREFIXES.match(name) is not None or _NAMES.fullmatch(name) is not None or fits
    if are_opinions(forms):
        return False
    fact = (_PHRASES.search(text) or _FACTS.search(text)) and not (opinion or _OPINION.search(text))
    if fact or (_is_of_words(text) and not is_about_others(text)) or (_is_of_words(bare) and not opinion):
        return True
    if opinion or _NAMES.fullmatch(name) is None:
        return fits and not opinion
    if not is_sentence(label, text):
        return _mostly_known(text)
    return fits or (speaks_of_respondent(text) and any(_is_noun(w) for w in text.split()))


def _is_of_words(text: str) -> bool:
    """Return whether a label is made of the words of demographics alone."""
    words = re.sub(r"\d+", " ", text).split()
    nouns = [_is_noun(w) for w in words]
    return (
        len(words) < 15 and any(nouns) and all(n or w in FILLERS for n, w in zip(nouns, words, strict=True))
    )


def _mostly_known(text: str) -> bool:
    """Return whether a title is short, or half of its words are of those of labels of demographics."""
    words = re.sub(r"\d+", " ", text).split()
    return len(words) < 4 or 2 * sum(_is_noun(w) or w in FILLERS for w in words) >= len(words)


def _is_noun(word: str) -> bool:
    """Return whether a word says what a demographic is about, as it is, elided (d'enfants) or compounded."""
    spelled = _UMLAUT.sub(r"\1", word)
    if word in NOUNS or spelled in NOUNS or (word[:1] in "dl" and word[1:] in NOUNS):
        return True
    part = _COMPOUND.fullmatch(spelled)
    return part is not None and (part[1] in NOUNS or part[1] + (part[2] or "") in NOUNS)


_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>")
_UMLAUT = re.compile(r"([aou])e")
_COMPOUND = re.compile(
    r"(\w{4,}?)(grosse)?(?:s|n|en)?(?:klassen?|gruppen?|grosse|kategorien?|status|form|typ|monat|art|stellung|ort)"
)
"""German compounds of a noun and what its levels are."""


def _has_demographic_levels(forms: Sequence[str], levels: Sequence[str]) -> bool:
    if len(forms) < 2:
        return False
    for pattern, share, least in _LEVELS.values():
        fit = sum(pattern.fullmatch(form) is not None for form in forms)
        if fit >= max(least, share * len(forms)):
            return True
    ages = sum(_AGES.fullmatch(form) is not None for form in forms)
    money = sum(_MONEY.search(level) is not None for level in levels)
    return ages >= max(3, 0.6 * len(forms)) or money >= max(3, 0.6 * len(forms))
