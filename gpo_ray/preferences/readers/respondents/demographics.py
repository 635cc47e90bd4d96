"""Recognise what a variable is by its name, label and labels of values: a demographic, a weight, paradata.

A label of a demographic is made of few words ("Age of respondent, recoded"), all of which are in a vocabulary,
or it asks for a fact about the respondent in a phrase that is known; a question that mentions age or sex has
other words too. Labels of values tell where the label does not: "Married", "Widowed".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from gpo_ray.preferences.readers.respondents.words import plain

Kind = Literal["demographic", "paradata", "weight", "id"]

_NOUNS = """
sex gender gndr age ages agecat agegroup birthyear cohort generation race ethnicity ethnic ethnie hispanic latino raceethnicity
education educational educ schooling degree diploma qualification school income incomes earnings wage salary marital
married partner divorced cohabitation religion religious denomination denominations affiliation church attendance worship pray prayer evangelical
employment employed occupation occupational job work working labor labour industry profession isco partyid party partisan
partisanship ideology ideological leftright left right placement region state province district county division area community
urban rural urbanicity urbanization metropolitan metro settlement municipality nationality citizenship citizen
born birth birthplace immigrant immigration migrant migration ancestry ancestors country household hh hhsize children child kids
family tenure ownership homeowner housing dwelling language mothertongue literacy veteran military orientation lgbt transgender
class union disability registration registered voted vote voting turnout ballot candidate
bundesland wohnt berufstaetig berufstaetigkeit erwerbstaetig erwerbstaetigkeit staatsangehoerigkeit kirchgangshaeufigkeit
geschlecht alter geburtsjahr geburt bildung bildungsabschluss schulabschluss schulbildung abschluss ausbildung berufsausbildung einkommen
haushaltseinkommen nettoeinkommen haushaltsnettoeinkommen familienstand konfession religionszugehorigkeit religionsgemeinschaft kirchgang kirchgangshaufigkeit beruf
berufstatigkeit berufstatig erwerbstatigkeit erwerbsstatus erwerbstatig berufsstellung beschaftigung parteineigung parteiidentifikation parteiidentifikationen wahlabsicht wahlentscheidung zweitstimme erststimme
links rechts selbsteinstufung einstufung bundesland land wohnort wohnortgrosse gemeindegrosse ortsgrosse gemeinde staatsangehorigkeit staatsburgerschaft
geburtsland migrationshintergrund haushaltsgrosse kinder kinderzahl altersgruppe altersgruppen altersklasse schicht schichteinstufung wohnstatus muttersprache gewerkschaftsmitglied
erhebungsgebiet haushalt personen wohnregion region
sexe genre diplome etudes niveau revenu revenus statut matrimonial conjugal situation etat civil profession csp emploi
activite professionnelle religieuse confession pratique naissance annee nationalite citoyennete enfants foyer menage taille commune departement
agglomeration habitat logement langue gauche droite positionnement sympathie partisane parti vote origine
sexo genero edad anos nacimiento educacion escolaridad estudios instruccion ingreso ingresos renta estado civil religion
religiosa ocupacion ocupacional empleo trabajo laboral situacion ideologia izquierda derecha escala autoubicacion partido voto
provincia ciudad comunidad habitat nacionalidad ciudadania hijos hogar vivienda idioma lengua clase raza etnia tamano municipio personas recuerdo
sesso eta nascita istruzione titolo studio reddito stato civile religione professione occupazione condizione professionale partito sinistra destra
autocollocazione regione provincia comune cittadinanza nazionalita figli famiglia componenti abitazione lingua classe
idade nascimento escolaridade educacao renda rendimento estado civil religiao ocupacao emprego trabalho ideologia esquerda direita posicionamento
regiao cidade municipio nacionalidade cidadania filhos domicilio agregado raca cor habitacao
geslacht leeftijd geboortejaar opleiding opleidingsniveau inkomen burgerlijke staat godsdienst religie kerkgang beroep werk arbeid
partijvoorkeur partij links rechts zelfplaatsing regio provincie gemeente nationaliteit kinderen huishouden woning taal stedelijkheid
kon alder fodelsear fodselsar utbildning utdanning uddannelse inkomst inntekt indkomst civilstand sivilstatus sivilstand yrke erhverv sysselsattning
partisympati parti venster hoyre vanster hoger region lan kommune kommun nationalitet statsborgerskap barn hushall husholdning husstand bostad bolig sprak kjonn koen aldersgruppe religionstillhorighet boende
plec wiek rok urodzenia wyksztalcenie dochod dochody stan cywilny wyznanie religijne praktyki zawod zatrudnienie praca partia poglady polityczne lewica
prawica wojewodztwo miejscowosc miejsce zamieszkania wielkosc obywatelstwo narodowosc dzieci gospodarstwo domowe jezyk klasa
пол возраст образование доход национальность 性别 年龄 年齢 性別 教育 学歴 学历 收入 婚姻 宗教 职业 cinsiyet yas egitim gelir
"""

_FILLERS = """
r rs respondent respondents respondent s of the a an in is you your yours what was were did do and or to at by for from with on s re recode recoded recodes category
categories cat group groups grouped grp level levels highest completed current currently present total annual monthly last year years
exact summary detailed detail collapsed combined combining variable var self identified identification reported report subjective
objective status type main major minor size number people persons person members living live lives home own code codes coded classification scale point points 7pt 7 5 10
11 6 4 3 2 8 pre post pt revised new old version short long based net gross before after taxes tax all sources source decile deciles quintile quintiles quartile tercile tier
binary dichotomous three two four five six seven eight nine ten full part time finished left when ended date month day calculated computed derived imputed
adjusted squared log interval intervals bracket brackets range ranges first second other another mother father parents parent mothers fathers s spouse spouses
partners head wage earner chief where which wave w interview interviewed interviewer profile demographic demographics demo background standard harmonized
harmonised iso isced isco isei nuts es ess background question item residence resident census usa us american national general specific political
strength strong lean leaning leans toward towards closest close feel currently week past ever any if not none indicator flag dummy group household households
be er befr befragte befragter befragten befragte r der die das des dem den in und oder nach von zur zum im am hochster hochste allgemeiner allgemeine allgemeinbildender allgemeinbildend jetzige derzeitige heute
zahl anzahl gruppen gruppiert kategorien kategorisiert kategorie gruppe wohngebiet west ost eigenes eigene netto monatlich jahr monat klasse subjektive bundestagswahl partei person personen stellung
du de la le les d l en et ou des un une par repondant repondante personne interroge interrogee enquete enquetee recode recodee groupe groupes classe classes tranche
tranches quel quelle est votre vous nombre dernier derniere mensuel net obtenu plus eleve
del el los las y o por que cual es su sus usted entrevistado entrevistada encuestado encuestada recodificada recodificado
recodificacion grupo grupos tramos nivel niveles maximo ultimo mas alto alcanzado completado actual mensual jefe familiar familiares numero religiosa subjetiva
di il lo della dell degli i dei e per intervistato intervistata classi gruppo livello piu anno mensile netto residenza numero attuale
do da dos das e os as o grupo faixa faixas etaria etarias mensal familiar nivel inquirido entrevistado ultimo
van het een jaar hoogste hoogst voltooide categorie groep klassen respondent netto maand
och i av pa hogsta hoyeste hojeste ar aret respondentens grupp gruppe type
i w na lat rok kategorie grupa grupy respondenta badanego poziom miesieczny
vorwahl selection selected
"""

_CORE = frozenset(plain(w) for w in _NOUNS.split())
_FILL = frozenset(plain(w) for w in _FILLERS.split())

_PHRASES = re.compile(
    r"(?:what|which) (?:is|was|best describes|are) your (?:\w+ ){0,3}(?:age|sex|gender|race|ethnic\w*|religio\w*|marital|education\w*|income|occupation|"
    r"job|employment|nationality|citizenship|birth|household|family income|zip|state|region|sexual orientation)\b|"
    r"\bhow old (?:are|were) you|(?:what|in what|in which|which) year (?:were you|was r|was the respondent) born|year (?:of|you were) birth|year of birth|"
    r"date of birth|year born|\bbirth ?year\b|month of birth|highest (?:level|grade|degree|year|educational|education|diploma)\b.*|"
    r"years of (?:full time |formal )?(?:education|schooling|school)|(?:r s|rs|respondents?s?|spouses?|mothers?|fathers?|partners?) (?:\w+ )?(?:highest|degree|education|"
    r"occupation|employment|income|sex|age|race|religio\w*|party)\b|"
    r"\battend(?:s|ance|ed|ing)?\b.*\b(?:religious|church|services|mass|worship|mosque|synagogue)|(?:religious|church|service) (?:service )?attendance|"
    r"how often (?:do you|does r|r) pray\b|religious preference|religious denomination|(?:present|current) religion|consider yourself (?:a )?(?:\w+ )?(?:religious|christian|born again)|"
    r"(?:born again|evangelical)\b.*|belong(?:ing|s)? to (?:a )?(?:\w+ )?(?:religion|denomination|religious|church|minority)|how religious (?:are you|is r)|religious person|how fundamentalist|"
    r"(?:think of|consider|call|describe|place|see) (?:your ?self|r ?self|self|themselves).*(?:republican|democrat|liberal|conservative|left|right|hispanic|latino|white|black|class|gay|straight)|"
    r"(?:republican|democrat)\w*\b.*\b(?:independent|lean)|\blean(?:s|ing)?\b.*\b(?:republican|democrat)|party (?:id|identification|affiliation|summary|registration|preference|lean)|"
    r"7 ?(?:pt|point) (?:scale )?(?:party|ideology|liberal conservative self)|liberal conservative self ?placement|self ?placement.*(?:left|right|liberal)|"
    r"(?:left right|rightleft|leftright|right left)\b.*(?:scale|placement|self|position)|political (?:party )?(?:affiliation|ideology|orientation|self placement)|think of self as liberal|"
    r"(?:placement|place|position) on (?:the )?left right|subjective (?:social )?class|social class|class identification|"
    r"(?:voted?|vote choice|vote intention|vote in elections?|voting)(?: \w+){0,4} (?:last|20\d\d|19\d\d|national|election|president\w*|party|house|senate|tomorrow|parliament\w*|level)|"
    r"(?:did|do|does) (?:r|you|respondent) vote\b|\bfor (?:whom|who) did\b.*\bvote|who did (?:you|r) vote|(?:which|what) party (?:would|did|do|r)\b.*\bvot|party voted for|eligible to vote|registered to vote|registered voter|"
    r"voted? (?:for )?(?:obama|trump|clinton|biden|romney|mccain|bush|kerry|gore|harris)|"
    r"(?:feel )?closer? to (?:a |any )?(?:particular |political )?part(?:y|ies)|member of (?:a )?(?:political party|trade union|labor union|labour union)|"
    r"(?:marital|relationship|employment|work|labor force|labour force|occupational|housing|citizenship|immigration|working|job) status|"
    r"legal marital|legally married|currently married|are you (?:now |currently |presently )?(?:\w+ )?(?:married|employed|working|retired|a citizen|hispanic|male|registered)|(?:ever )?been (?:divorced|widowed|married)|"
    r"live with (?:your )?(?:parents|partner|husband|wife)|living with (?:parents|husband|partner)|(?:husband|wife) (?:\w+ )?partner\b|"
    r"(?:total|family|household|personal|annual|gross|net) (?:\w+ ){0,3}income|(?:scale of|main source of|source of) (?:\w+ )?incomes?|\bincome (?:category|bracket|quintile|decile|tier|group|last year|range)|"
    r"number (?:of )?(?:\w+ ){0,2}(?:children|people|persons|adults|members|kids|brothers|siblings|household|living|hours worked)|how many (?:children|adults|kids|brothers|siblings)\b|how many (?:people|persons) (?:\w+ )?(?:live|living|in your household|in (?:the )?household)|"
    r"(?:household|family) (?:size|composition|members)|(?:own|rent)s? (?:or (?:own|rent)s? )?(?:your |their |his |the )?(?:home|house|dwelling|apartment)|dwelling (?:is )?own|home ?owner\w*|type of (?:community|place|dwelling|structure|locality|settlement|area)|"
    r"(?:size|population) of (?:town|place|community|city|settlement|municipality|locality)|town ?size|settlement size|(?:urban|rural)\b.{0,3}\b(?:rural|urban|suburban).*|"
    r"^region\b|region (?:where|in which|code)|(?:census|metropolitan) (?:region|division|area)|place of residence|"
    r"(?:was r|were you|respondent|r|mother|father|parents?|grandparents?) (?:\w+ )?(?:born|immigrant)\b|born in (?:this|the|another)? ?country|country of (?:birth|origin|residence)|birth country|countries? of birth|"
    r"^(?:\w+ )?citizen of\b|citizen of (?:this |the )?(?:country|us|usa|united states)|^(?:r s |rs |respondents? |your )?(?:nationality|citizenship)\b|immigrant (?:status|background)|years? in (?:the )?(?:us|usa|united states)\b|"
    r"(?:language)\b.*\b(?:home|spoken|interview|most often)|language at home|mother tongue|native language|"
    r"racial (?:identity|background|category|group)|race (?:and|or) ethnic\w*|race of|ethnic (?:group|origin|background|minority|identity)|hispanic (?:origin|or latino|ethnicity|background)|^(?:are you |r )?(?:of )?hispanic\b|skin colou?r|ancestry|"
    r"sexual orientation|sexornt|gender identity|(?:are you|identify as|consider yourself) transgender|zodiac|astrological|(?:served?|serving|years|ever been|active duty) (?:\w+ ){0,3}(?:armed forces|military)|veteran status|\ba veteran\b|"
    r"(?:doing|main activity) last 7 days|main activity|employment (?:relation|contract|sector)|(?:full|part) time (?:student|employed)|hours (?:\w+ )?work\w*|sector of employment|"
    r"chief wage earner|supervis\w+ (?:other )?(?:employees|people|others)|occupational (?:group|prestige|status)|ever unemployed|self emp\w*|unemployed and seeking|work for pay|"
    r"(?:age|educat\w+) (?:when )?(?:completed|finished|stopped|at which|full ?time|group\w*|categor\w*|recoded?|exact|of r\w*)|age of respondent|respondents? age|age education|"
    r"difficult\w* paying (?:your )?bills|subjective income|feeling about household s? ?income|family savings|"
    r"wie alt sind sie|hochste\w* (?:\w+ )?(?:schul|bildung|abschluss)\w*|schulabschluss|welche\w* (?:schul|beruf|konfession|religion|staatsangeh)\w*|links rechts|geboren|kirchg|wahlabsicht|gewahlt|sonntagsfrage|"
    r"verheiratet|familienstand|haushaltsnetto\w*|nettoeinkommen|parteineigung|leben in ihrem haushalt|subjektive schicht|staatsangehorigkeit|"
    r"quel (?:est votre )?age|votre age|quel age|vous etes (?:un homme|une femme)|annee de naissance|situation (?:familiale|professionnelle|matrimoniale)|niveau d ?(?:etudes|instruction|diplome)|"
    r"dernier diplome|categorie socio\w*|taille (?:de la commune|d ?agglomeration|du foyer)|statut d ?emploi|gauche droite|proximite (?:politique|partisane)|frequentation (?:religieuse|des offices)|"
    r"cual es su (?:edad|sexo|religion|estado civil)|que edad|ano de nacimiento|nivel (?:de )?(?:estudios|educa\w+|instruccion)|estado civil|situacion (?:laboral|ocupacional)|izquierda derecha|escala ideologica|"
    r"clase social|ingreso (?:familiar|mensual)|por (?:que|cual) partido (?:vot|usted)\w*|intencion de voto|recuerdo de voto|identificacion (?:del? )?(?:pais|partid)\w*|tamano de (?:ciudad|habitat|municipio)|practica religiosa|"
    r"anno di nascita|titolo di studio|stato civile|condizione (?:professionale|occupazionale)|sinistra destra|pratica religiosa|"
    r"ano de nascimento|grau de (?:instrucao|escolaridade)|nivel de escolaridade|esquerda direita|renda (?:familiar|mensal)|cor ou raca|"
    r"hoogst\w* (?:\w+ )?opleiding|burgerlijke staat|links rechts|fodelsear|fodselsar|hogsta utbildning|vanster hoger|venstre hoyre|"
    r"rok urodzenia|stan cywilny|poziom wyksztalcenia|praktyki religijne|miejsce zamieszkania"
)

_OPINION = re.compile(
    r"\b(?:should|ought|agree|disagree|favou?r|oppose|approve|trust|confidence|satisf\w+|opinion|government|discriminat\w*|problems?|"
    r"acceptable|justif\w+|too (?:much|many|little|few)|threat|worr\w+|concern\w*|immigrants|women|blacks|most people|people who|better|worse|believe|"
    r"sollten?|vertrauen|zufrieden\w*|meinung|devrai\w+|confiance|deberia\w*|confianza|opinion|dovrebbe\w*|fiducia|deveria\w*|"
    r"satisfecho|satisfait|soddisfatt\w+|powinn\w+|zaufanie|vertrouwen|tevreden|fortroende|tillit)\b"
)
"""Words of opinions: where they occur, a phrase of a demographic is a part of what is asked about."""

_NAMES = re.compile(
    r"(?:f|dem|demo|demog|pp|prof|profile|p|x|rec|resp|r|q|s|d|sd)?_?"
    r"(?:sex|gender|gndr|gender_?cat|age|agea|age_?(?:cat|grp|group|4|5|6|7|r|recode|exact)?|agecat\d?|yrbrn|birth_?yr|birth_?year|yob|cohort|generation|race|racethn?|race_?eth\w*|racecmb|racethnmod|racehisp|"
    r"ethnic\w*|hisp\w*|educ|educ\w*|eisced|eduyrs|edulvl\w*|degree|isced\w*|inc|income\w*|inc_sdt1|hinctnt\w*|rincom\w*|realinc|coninc|marital\w*|marstat?|maritalb|relig|religcat\d?|religion|rlgblg|rlgdn\w*|"
    r"rlgdgr|rlgatnd|denom\d*|attend|attendance|reliten|born|bornagain|pray|fund|party|partyid\w*|pid\d?|pid_?\w{0,3}|partyln\w*|partysum\w*|ideo|ideo\d?|ideology|polviews|lrscale|leftright|"
    r"region|cregion|census_?region|cdivision|division|state|metro|urbanicity|usr|usr_selfid|urbrural|domicil|xnorcsiz|srcbelt|size|nuts\w*|citizen\w*|uscitzn|ctzcntr|brncntr|"
    r"cntbrth|facntr|mocntr|blgetmg|nationality|natl|hhsize|hhmmb|hompop|childs|children|kids|parent|own_?home|dwelown|tenure|lang|language|lnghom\d|empl\w{0,6}|emplrel|wrkstat|occ\d*|occup\w*|"
    r"isco\w*|prestg\w*|indus\d*|mnactic|mainact|uempla?|vote\d{0,4}|pres\d\d|voted\w*|if\d\dwho|prtv\w*|prtcl\w*|clsprty|volsum|reg|class|sexornt|lgbt\w*|zodiac|vet|veteran|vetyears|mbtru|"
    r"geschlecht|alter|bildung|einkommen|sexe|sexo|edad|idade|sesso|eta|geslacht|leeftijd|kjonn|alder|plec|wiek|inctier|inc_tier\d?|intuser|intfreq|relimp)"
    r"(?:_?(?:final|w\d+|r|cat|rec|recode|grp|group|\d))*"
)
_PREFIXES = re.compile(
    r"f_[a-z]|pp(?:age|educ|gender|eth|hh|inc|marit|reg|rent|work|emp|hous|msa|state|kid|t\d|net|race|cm)|demo?_|sd\d|sociodem"
)
_PARADATA_NAME = re.compile(
    r"(?:year|wave|round|essround|edition|version|doi|ballot|form|form_w\d+|formwt|mode|mode_?\w{0,12}|q_mode|device\w*|lang_w\d+|xtablet\w*|treatment(?:_w?\d+)?|split\w*|cntry|country(?:_?(?:code|name|iso|num\w*|alpha|wave|year|c|id|split))?|"
    r"b_country\w*|c_cow\w*|s003\w*|isocntry|idenpa|idnpais|vstrat|vpsu|psu|stratum|strata|strat(?:um|a)?\d?|cluster\w*|sample|sampcode|oversamp|phase|issp|spaneng|feeused|"
    r"interview\w*|int\w*length|duration\w*|dur\w*|start(?:time|date|ed)?\w?|end(?:time|date)\w*|date(?:int\w*|_\w{0,3})?|time(?:stamp|start|end|_?\w?)|dateintv|intdate|intid|intage|intsex|intethn|inteth\w*|intyrs|coop|comprend|lngthinv|"
    r"numentre|numinves|digit|codif|supervvi|superen|codsuper|diareal|mesreal|ini|fin|dura|totrevi|numcasa|ip_?address|status|progress|finished|recipient\w*|userlanguage|latitude|longitude|"
    r"tnrespons\w*|p[1-9]\w?_?duration|consent\w*|quota\w*|complete\w*|[a-z]_?psu|[a-z]?_?interviewer\w*|j_intdate|k_duration|k_time\w*|fw_\w+|a_(?:wave|year|study)|n_region\w*|n_town|o\d?_(?:lo|la)\w*|"
    r"s002\w*|s0(?:07|09|20|24|25)\w*|lnge_\w+|e_respint|f_intprivacy|e1_literacy|s_intlanguage)"
)
_PARADATA = re.compile(
    r"\binterviewers?\b|date of interview|^interview\b|interview (?:start|end|id|date|number|time|status|type|quality)|mode of (?:data|interview|collection)|interview mode|length of (?:the )?(?:interview|questionnaire|survey)|interview length|duration of (?:the )?(?:interview|survey)|^duration|interview duration|start(?:ing)? (?:time|date)|end(?:ing)? (?:time|date)|time ?stamp|"
    r"\b(?:sampling|sample)\b.*|\bstrat(?:um|a|ification)\b|primary sampling|\bpsu\b|\bcluster\b|variance (?:unit|stratum|primary)|^country$|^country (?:code|name|iso|wave|year|of interview)|country code|iso 3166|"
    r"(?:^| )(?:wave|round|edition)$|chronology|survey (?:year|wave|round|mode)|^(?:gss )?year\b|split (?:of|questionnaire|ballot|form)|(?:questionnaire|ballot|survey) (?:form|version|used|split)|^form\b|^ballot\b|"
    r"device (?:type|used)|operating system|response time|page timing|^timing\b|in minutes\b|anyone (?:else )?(?:was )?present|persons? present|^(?:respondents? )?cooperation|"
    r"respondents? (?:understanding|attitude toward interview|interest in (?:the )?interview|cooperat\w*|was)|understanding of questions|number of (?:calls|contacts|attempts)|response rate|administr\w+ (?:unit|mode)|experiment\w* (?:condition|group|assign\w*)|"
    r"random(?:ized|ised|ly)?\b.*(?:order|group|version|assign\w*|number)|^(?:data )?(?:version|edition)|digital object|questionnaire language|language (?:of|in which) (?:the )?(?:interview|questionnaire|survey)\b.*|"
    r"interviewer|befragungs?(?:art|dauer|methode|zeit|ende|beginn)|erhebungs(?:jahr|methode|modus|instrument)|interviewdauer|enqueteur|duree (?:de l|d)|date de|entrevistador|encuestador|duracion de la|^fecha|"
    r"numero de (?:entrevista|cuestionario)|intervistatore|durata|entrevistador|duracao|interviewduur|intervjuare|ankieter|czas trwania|data wywiadu"
)
_ID_NAME = re.compile(
    r"(?:id|ids|caseid|case_?id|idno|uniqid|qkey|respid|resp_?id|respondent_?id|respondentid|responseid|serial(?:id)?|uuid|pid_?num|d_interview|numentre|record\w*|key|nomem_encr|casenum|case|respnr|lfdnr|"
    r"\w{1,9}_id|za_?nr|studyno\d?|identificador|folio|no_?cuestionario)"
)
_ID = re.compile(
    r"\b(?:unique|case|respondent|interview|record|serial|response|household|person|study|identification|questionnaire) (?:id|identifier|number|nr|identification)\b|identifier|respondent id|"
    r"identifikationsnummer|identifikation|laufende nummer|studiennummer|^id\b|identifiant|identificador|numero de (?:entrevista|cuestionario)"
)
_WEIGHT_NAME = re.compile(
    r"(?:\w*_)?(?:weights?|wghts?|wgts?|wts?|wtss\w*|wtssall\w*|wtssps|gewicht\w*|gew|poids|peso|pond\w*|ponderador|ponderacion|faktor|factor|pspwght|dweight|pweight|anweight|wghtpew|wghtpt|"
    r"w\d{1,3}wt|s01[789]\w*|vikt|vekt|waga)(?:_?\w{0,12})?|weight\w*|w_weight|fexp|pesow?|[a-z]{0,4}wgt\d*|[a-z]{0,4}wght|w\d+|wt\w{0,10}"
)
_SURE_WEIGHT = re.compile(
    r"(?:weight|wgt|wt|wght)(?:_?w?\d+)?|wtss\w*|(?:psp|p|d|an)we?i?ght|w\d+wt|w_weight|\w+_(?:weight|wgt|wt)|weight_\w+"
)
_WEIGHT = re.compile(
    r"\b(?:weight|weights|weighting|wgt|gewicht|gewichtung|gewichtungsfaktor|designgewicht|ponderation|poids|ponderacion|ponderador|factor de (?:expansion|ponderacion)|peso|pesi|ponderazione|ponderacao|weegfactor|"
    r"gewichten|vikt|vekt|vaegt|waga|wagi|poststratification|post stratification)\b|gewicht"
)
_NOT_WEIGHT = re.compile(
    r"\b(?:kg|kilo\w*|pounds|lbs|body|how much do you weigh|height|overweight|carry weight|lose weight|korper\w*)\b"
)

_LEVELS: dict[str, tuple[re.Pattern[str], float, int]] = {
    "sex": (
        re.compile(
            r"(?:a )?(?:male|female|man|woman|men|women|m|f|boy|girl|mann|frau|mannlich|weiblich|divers|homme|femme|masculin|feminin|hombre|mujer|masculino|femenino|"
            r"varon|uomo|donna|maschio|femmina|homem|mulher|feminino|vrouw|kvinna|kvinne|kvinde|mand|mezczyzna|kobieta|мужчина|женщина|мужской|женский|"
            r"男|女|男性|女性|erkek|kadin|ذكر|انثى|nonbinary|non binary|in some other way|some other way|transgender|other|another gender|third gender)"
        ),
        1.0,
        2,
    ),
    "marital": (
        re.compile(
            r".*\b(?:married|widow(?:ed|er)?|divorced|separated|cohabit\w*|single|living (?:together|with (?:a )?partner)|never been married|verheiratet|ledig|geschieden|verwitwet|"
            r"marie|mariee|celibataire|divorcee?|veufs?|veuve|casad[oa]s?|solter[oa]s?|divorciad[oa]s?|viud[oa]s?|separad[oa]s?|coniugat[oa]|celibe|nubile|vedov[oa]|divorziat[oa]|solteir[oa]|viuv[oa]|"
            r"gehuwd|ongehuwd|gescheiden|weduwe|gift|ogift|ugift|skild|skilt|anka|enke|zonaty|zamezna|rozwiedzion\w*|wdow\w*|kawaler|panna)\b.*"
        ),
        0.6,
        2,
    ),
    "religion": (
        re.compile(
            r".*\b(?:catholic|protestant|orthodox|jewish|jew|muslim|islam|hindu|buddhist|mormon|atheist|agnostic|evangelical|lutheran|baptist|methodist|anglican|katholisch|evangelisch|"
            r"muslimisch|judisch|catholique|protestante?|musulmane?|juive?|catolic[oa]|evangelic[oa]|judi[oa]|cattolic[oa]|rooms katholiek|protestants|katolik|katolickie)\b.*"
        ),
        0.5,
        3,
    ),
    "race": (
        re.compile(
            r".*\b(?:white|black|african american|hispanic|latino|asian|native american|american indian|pacific islander|mixed race|multiracial|caucasian|mestizo|indigena|mulato|blanco|negro|branca|preta|parda)\b.*"
        ),
        0.5,
        3,
    ),
    "education": (
        re.compile(
            r".*\b(?:high school|college|bachelors?|masters?|doctor\w*|phd|postgrad\w*|graduate|associate|elementary|primary|secondary|tertiary|isced|university|vocational|no (?:formal )?(?:education|schooling)|"
            r"hauptschul\w*|realschul\w*|abitur|fachhochschul\w*|hochschul\w*|mittlere reife|bac|baccalaureat|licence|primaire|secondaire|superieur|primari[ao]|secundari[ao]|universitari[ao]|bachillerato|licenza media|laurea|diploma|"
            r"ensino|fundamental|superior|vmbo|havo|vwo|mbo|hbo|wo|gymnasium|grundskola|grunnskole|podstawow\w*|srednie|wyzsze)\b.*"
        ),
        0.6,
        3,
    ),
    "work": (
        re.compile(
            r".*\b(?:employed|unemployed|retired|student|homemaker|housewife|keeping house|full time|part time|disabled|self employed|paid work|looking for work|in school|laid off|temp not working|"
            r"erwerbstatig|arbeitslos|rentner|rente|hausfrau|hausmann|studium|schuler|vollzeit|teilzeit|actif|chomeur|chomage|retraitee?|etudiante?|au foyer|emploi|"
            r"empleado|desempleado|parado|jubilad[oa]|pensionista|estudiante|ama de casa|asalariado|occupat[oa]|disoccupat[oa]|pensionat[oa]|casalinga|studente|"
            r"empregad[oa]|aposentad[oa]|reformad[oa]|estudante|dona de casa|werkend|werkloos|gepensioneerd|arbetslos|pensionar|arbeidsledig|pensjonist|emeryt\w*|bezrobotn\w*)\b.*"
        ),
        0.5,
        3,
    ),
    "place": (
        re.compile(
            r".*\b(?:rural|urban|suburban?s?|city|town|village|countryside|farm|grossstadt|kleinstadt|dorf|ville|campagne|ciudad|pueblo|citta|campagna|aldeia|dorp|stad|landsbygd|wies|miasto)\b.*"
        ),
        0.6,
        3,
    ),
    "party": (
        re.compile(
            r"(?:.*\b(?:republican|democrat|independent|lean\w*|something else|labour|conservatives?|liberal democrats?|spd|cdu|csu|fdp|afd|psoe|vox|podemos)\b.*|pp|green|greens|other|other party)"
        ),
        0.7,
        3,
    ),
    "ideology": (
        re.compile(
            r"(?:very |slightly |extremely |somewhat |moderately )?(?:liberal|conservative|moderate|left wing|right wing)(?: middle of (?:the )?road)?"
        ),
        0.8,
        3,
    ),
}
"""For each kind of demographic: what its levels look like, the least share of a variable's labels that do, and their
least number."""

_AGES = re.compile(
    r"(?:age )?\d{1,2} ?(?:to |bis |a |y |- ?)?\d{2}(?: (?:years?|jahre|ans|anos|anni|lat|ar|jaar))?(?: old| alt)?|(?:under|below|unter|moins de|menos de|up to) \d\d\b.*|\d\d (?:years? )?(?:and|or|und|et|y|e|en|i)? ?(?:over|older|more|above|alter|plus|mas|mehr)|\d\d (?:ans )?et plus|\d\d plus"
)
_MONEY = re.compile(
    r"[$€£¥₹]|\b\d{1,3}[.,' ]000\b|\b\d{2,3}k\b|\b(?:usd|eur|euros?|dollars?|decile|quintile|\d+(?:st|nd|rd|th) (?:decile|quintile)|dezil)\b",
    re.IGNORECASE,
)
_POSSESSIONS = re.compile(
    r"^(?:(?:does )?(?:r|your household|you|the household|household)?(?: or (?:r s|your) (?:family|household))? ?(?:have|has|own|owns|possess(?:es|ion)?|posee|tiene|su hogar (?:tiene|posee)|votre foyer (?:possede|a)|besitzt ihr haushalt|household has)|number of|how many|n of|anzahl|nombre de|numero de|cuant[oa]s|"
    r"possession|goods|household (?:possessions|goods|equipment|has|owns)|items? (?:owned|in household))\b.*\b(?:car|cars|tv|television|computer|laptop|phone|telephone|internet|refrigerator|washing machine|rooms|bicycle|"
    r"motorcycle|auto|telefon|kuhlschrank|lavadora|heladera|carro|coche|computadora|computador|ordenador|ordinateur|voiture|celular|agua|alcantarillado|bedrooms|bathrooms|vehicles?|books|gun|guns)\b|^own(?:s)? (?:a |an )?(?:car|home|computer|gun|tv)|have gun"
)


def bare_label(label: str) -> str:
    """Return a variable's label without the code of the question that may stand before its text: "Q12a. "."""
    cut = re.sub(
        r"^\s*(?:[\[(]?[A-Za-z]{0,4}_?\d+[A-Za-z]{0,2}(?:[._]\d+[a-z]?)*(?:_[A-Za-z0-9]+)*[\])]?\s*[.:)\-–—]\s+|[A-Z][A-Z0-9_]*_W\d+[.:]?\s+|[A-Z][A-Z0-9_]{2,}[.]\s+(?=[A-Z]))",
        "",
        label,
    )
    return cut.strip() or label


def kind_of(name: str, label: str | None, levels: Sequence[str]) -> Kind | None:
    """Return what a variable is if it is no question.

    Args:
        name: its name.
        label: its label.
        levels: the labels of its values, without refusals.
    """
    bare, text = name.casefold(), plain(bare_label(label or ""))
    if _is_weight(bare, text):
        return "weight"
    if _ID_NAME.fullmatch(bare) or (_ID.search(text) and not levels):
        return "id"
    if _PARADATA_NAME.fullmatch(bare) or (len(text.split()) < 16 and _PARADATA.search(text)):
        return "paradata"
    return (
        "demographic"
        if _is_demographic(bare, text, [plain(v.replace("+", " plus")) for v in levels], levels)
        else None
    )


def _is_weight(name: str, text: str) -> bool:
    if _NOT_WEIGHT.search(text):
        return False
    if _WEIGHT.search(text) and len(text.split()) < 13:
        return True
    return _SURE_WEIGHT.fullmatch(name) is not None or (_WEIGHT_NAME.fullmatch(name) is not None and not text)


def _is_demographic(name: str, text: str, forms: Sequence[str], levels: Sequence[str]) -> bool:
    if _NAMES.fullmatch(name) or _PREFIXES.match(name):
        return True
    words = re.sub(r"\d+", " ", text).split()
    if (
        words
        and len(words) < 15
        and all(w in _CORE or w in _FILL for w in words)
        and any(w in _CORE for w in words)
    ):
        return True
    if _PHRASES.search(text) and not _OPINION.search(text):
        return True
    return _has_demographic_levels(forms, levels)


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


def is_possession(label: str) -> bool:
    """Return whether a label says that the household owns something, or how many there are."""
    return _POSSESSIONS.search(plain(bare_label(label))) is not None
