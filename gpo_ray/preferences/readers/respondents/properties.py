"""Properties of a person, a household or an interview, told from short labels in many languages and scripts.

A title such as "Position in the household" or "婚姻状態" says what the respondent is, not what he or she
thinks; whoever writes an opinion into a title has a word for it: trust, importance, satisfaction, should.
"""

from __future__ import annotations

import re

MOST_WORDS = 9
"""Most words of a title."""
MOST_SIGNS = 24
"""Most signs of a title in a script without spaces between words."""

_PLACES = (
    r"region\w*|province|provincia|provincie|provinz|bundesland|county|district|distrito|nuts ?\d?|canton|"
    r"kanton|"
    r"prefecture|governorate|regione|regiao|departement|departamento|municipality|municipio|gemeinde|"
    r"gemeente|kommune?|"
    r"comune|commune|postcode|zip ?code|postal code|wojewodztwo|powiat|gmina|kraj|okres|megye|judet|oblast|"
    r"область|регион|"
    r"район|город|село|ilce|maakunta|lan|fylke|locality|neighbou?rhood type|population cent(?:er|re)|"
    r"community size|"
    r"settlement|urbani[sz]ation|urbanicity|comunidad autonoma|ward|constituency|electorate|division"
)
_OF_PERSONS = (
    r"faculty|facultad|faculte|fakultat|facolta|department you work|job title|job level|seniority|tenure|"
    r"length of service|"
    r"years? of (?:service|experience|study|employment)|study programme|degree programme|course of study|"
    r"field of study|"
    r"major subject|employment|employer|occupation\w*|profession\w*|ocupacion|occupazione|beruf\w*|beroep|"
    r"yrke\w*|zawod\w*|"
    r"povolani|zamestnani|foglalkozas|ocupatie|ammatti|meslek\w*|pekerjaan|nghe nghiep|профессия|занятость|"
    r"должность|"
    r"marital|civil status|estado civil|etat civil|stato civile|familienstand|sivilstatus|sivilstand|"
    r"civilstand\w*|"
    r"rodinny stav|csaladi allapot|stare(?:a)? civila|siviilisaaty|medeni (?:durum|hal)\w*|status perkawinan|"
    r"hon nhan|семейное положение|birth ?(?:place|month|date|day)?|birthplace|place of birth|geburts\w+|"
    r"naissance|nacimiento|"
    r"nascita|nascimento|fodsels\w+|fodelse\w+|syntyma\w+|narozeni|urodzenia|dogum \w+|nationality|"
    r"citizenship|ethnicity|"
    r"ethnic (?:group|origin|background)|visible minority|minority status|migration background|country of "
    r"origin|"
    r"national origin|ancestry|household (?:head|position|type|size|composition|members?|income)|head of "
    r"(?:the )?household|"
    r"position (?:in|within) (?:the )?(?:household|family)|relationship to (?:the )?(?:head|householder|"
    r"respondent)|"
    r"family status|family situation|number of children|children in (?:the )?household|dwelling|tenure|"
    r"housing (?:type|tenure|"
    r"status)|home ?owner\w*|education(?:al)?|schooling|escolari[sz]acion|escolaridad|qualifications?|school "
    r"leaving|"
    r"highest (?:school|degree|diploma|grade|level)|vzdelani|vegzettseg|educatie|koulutus|egitim|pendidikan|"
    r"hoc van|"
    r"образование|освіта|religion|religious (?:affiliation|denomination|membership)|denomination|faith|"
    r"confession|agama|"
    r"ton giao|vallas|nabozenstvi|вероисповедание|religio|income|salary|earnings|wages|einkommen|revenus?|"
    r"ingresos?|reddito|"
    r"renda|inkomen|inkomst\w*|inntekt|indkomst|dochod\w*|prijem|jovedelem|venit|tulot|gelir\w*|pendapatan|"
    r"penghasilan|"
    r"thu nhap|доход\w*|sex|gender|geschlecht|sexo|sexe|sesso|geslacht|kjonn|kon|plec|pohlavi|neme?|varsta|"
    r"ika|sukupuoli|"
    r"cinsiyet\w*|jenis kelamin|gioi tinh|возраст|пол|вік|стать|age|alter|edad|leeftijd|alder|wiek|vek|"
    r"eletkor|yas|usia|umur|"
    r"tuoi|disability|disabled|veteran status|military service|sexual orientation|languages? spoken|mother "
    r"tongue|"
    r"first language|main language|work(?:ing)? (?:status|situation|hours)|labou?r (?:force|market) "
    r"(?:status|situation)|"
    r"landsdel\w*|utdanning\w*|utbildning\w*|uddannelse\w*|bildung\w*|opleiding\w*|istruzione|instruccion|"
    r"niveau d etudes|"
    r"escolaridade|wyksztalcen\w*|bosted\w*|bostadsort|bopael|hjemsted|wohnort\w*|wohnsitz|trossamfunn\w*|"
    r"trossamfund|"
    r"(?:medlem\w*|mitglied\w*|member\w*) (?:av|i|of|in|der|einer)\b.*|"
    r"employed|unemployed|retired|student status|social class|class|origin|herkunft|origine|origen|herkomst|"
    r"ursprung|"
    r"opprinnelse|pochodzenie|shift|years? at (?:the )?(?:company|school|address)|year group|generation|"
    r"cohort"
)
_TITLE = re.compile(rf"\b(?:{_PLACES}|{_OF_PERSONS})\b")

_REGION = re.compile(
    rf"^(?:{_PLACES})\b(?: \w+){{0,5}}$|^(?:ost|east|west|nord|north|sud|south|este|oeste|est|ouest|oost|"
    rf"zuid|noord|vast|"
    r"ost|syd|ovest) (?:or |und |and |et |y |oder )?(?:ost|east|west|nord|north|sud|south|este|oeste|est|"
    r"ouest|oost|"
    r"zuid|noord|vast|syd|ovest)(?: deutschland| germany)?$"
)

_SCRIPTS = re.compile(
    r"性別|性别|年齢|年龄|年齡|生年|出生|婚姻|配偶者|未婚|既婚|学歴|学历|學歷|教育程度|最終学歴|通った学校|学校の種類|就労|就業|就业|就業状"
    r"|職業|职业|職位|勤務|雇用|従業|仕事の状|収入|收入|所得|年収|世帯|家庭人口|家族構成|同居|続柄|宗教|信仰する|民族|国籍|國籍|出身|户口|户籍"
    r"|戶籍|居住|住所|現住|都道府県|市区町村|地域|地区|地區|省份|城市|省市|政治面貌|子ども|子供|子女|持ち家|住居|住宅|母語"
    r"|성별|연령|나이|출생|혼인|결혼|학력|교육수준|직업|취업|고용|소득|종교|거주|지역|가구|자녀|주택|국적|본관|출신"
    r"|الجنس|العمر|السن|الميلاد|الحالة (?:الاجتماعية|الزوجية|العائلية|المهنية)|المستوى (?:التعليمي|الدراسي)|"
    r"التعليم|الديانة|الدين"
    r"|المهنة|الدخل|المنطقة|المحافظة|الولاية|الاقامة|السكن|الجنسية|اللغة"
    r"|מין|גיל|מצב משפחתי|השכלה|דת|דתיות|מקצוע|תעסוקה|הכנסה|מגורים|ארץ לידה|מחוז"
    r"|लिंग|आयु|उम्र|शिक्षा|धर्म|जाति|व्यवसाय|आय|वैवाहिक|राज्य|जिला"
    r"|φυλο|ηλικια|εκπαιδευση|οικογενειακη κατασταση|επαγγελμα|εισοδημα|περιφερεια|θρησκεια|απασχοληση"
    r"|เพศ|อาย|การศกษา|อาชพ|รายได|ศาสนา|จงหวด|ภาค|สถานภาพ"
    r"|пол|возраст|образование|семейное положение|доход|занятость|профессия|национальность|вероисповедание|"
    r"место жительства"
    r"|тип населенного пункта|федеральный округ|стать|освіта|сімейний стан"
)
_THINKS = re.compile(
    r"思|べき|賛成|反対|満足|信頼|重要|意見|評価|態度|不安|関心|好|認為|认为|应该|應該|同意|满意|滿意|信任|看法|支持|重視|政策|問題|问题|平等|差別"
    r"|歧视|者の観察|생각|만족|신뢰|중요|찬성|반대|의견|평가|태도|관심|정책|문제|평등|차별|يجب|الثقة|ثقة|رأي|راضي|اهمية|ينبغي|توافق|تعتقد|חשוב|"
    r"אמון|"
    r"שביעות|דעת|צריך|מסכים|राय|विश्वास|संतुष्ट|चाहिए|महत्व|εμπιστοσυνη|ικανοποι|γνωμη|πρεπει|σημαντικ|довер|"
    r"удовлетвор|мнени|долж|важн|"
    r"соглас|довіра|думк|ควร|พอใจ|เชอมน|ความคด|สำคญ"
)
"""Opinions in scripts other than Latin."""

_VALUES = re.compile(
    r"\b(?:should|ought|must|trust|confiden\w+|satisf\w+|dissatisf\w+|importan\w+|priorit\w+|prefer\w*|"
    r"support\w*|oppos\w+|"
    r"favou?r\w*|agree\w*|disagree\w*|approv\w+|accept\w*|justif\w+|opinion\w*|views?|attitud\w+|feel\w*|"
    r"feeling\w*|"
    r"evaluat\w+|assess\w*|rat(?:e|ing)\w*|rank\w*|likely|likelihood|expect\w*|worr\w+|concern\w*|fear\w*|"
    r"threat\w*|problem\w*|"
    r"issue\w*|polic(?:y|ies)|spend\w*|spent|govern\w+|reform\w*|law|laws|right|rights|equal\w*|inequal\w*|"
    r"fair\w*|unfair\w*|"
    r"differen\w+|gap|gaps|discriminat\w*|prejudice|better|worse|good|bad|too|enough|more|less|best|worst|"
    r"most|"
    r"immigra\w+|neighbou?rs?|women|men|blacks|whites|gays?|people|others|country s|economy|economic|market|"
    r"system|services?|"
    r"quality|effect|impact|influence|role|duty|freedom|security|safety|chance\w*|opportunit\w*|interest\w*|"
    r"aware\w*|know\w*|"
    r"help\w*|hurt\w*|necessary|natural|values?|goal|goals|aims?|trustworth\w*|proud|pride|attach\w*|close|"
    r"identif\w+|"
    r"belong\w*|conflict\w*|tension\w*|relations|life|lives|democra\w+|vote|voting|part(?:y|ies)|politic\w*|"
    r"einstellung\w*|vertrauen|zufrieden\w*|wichtig\w*|meinung\w*|soll\w*|sorgen?|politik\w*|bewert\w+|"
    r"beurteil\w+|"
    r"gerecht\w*|chancen\w*|system\w*|wert|werte|erwart\w+|"
    r"confiance|satisf\w+|opinion\w*|devrai\w*|inquiet\w*|politique\w*|jug\w+|avis|egalite|inegalite\w*|"
    r"confianza|satisfac\w*|opini\w+|deber\w*|preocup\w*|politic\w+|valor\w*|igualdad|desigualdad|acuerdo|"
    r"fiducia|soddisf\w*|dovre\w*|preoccup\w*|giudizi\w*|uguaglianza|confianca|deveri\w*|igualdade|"
    r"vertrouw\w*|tevreden\w*|belangrijk\w*|mening\w*|zou\w*|moet\w*|beleid|oordeel|"
    r"fortroende|tillit|nojd\w*|viktig\w*|asikt\w*|burde|skal|bor|bekymr\w*|holdning\w*|"
    r"zaufanie|zadowol\w*|wazn\w*|opinia|powin\w*|ocen\w+|luottamus|tyytyv\w*|duvera|bizalom|elegedett\w*|"
    r"guven\w*|"
    r"memnun\w*|kepercayaan|kepuasan|incredere)\b"
)
"""Words that a title has if it may ask what one thinks."""

_ROLE = (
    r"student|employee|manager|supervisor|teacher|parent|mother|father|guardian|resident|citizen|member|"
    r"owner|tenant|renter|"
    r"homeowner|worker|volunteer|veteran|immigrant|caregiver|carer|patient|customer|client|user|smoker|"
    r"driver|farmer|"
    r"undergraduate|graduate|postgraduate|freshman|pensioner|retiree|nurse|doctor|alumn\w+|apprentice|"
    r"trainee|contractor|"
    r"full ?time|part ?time|employed|unemployed|retired|married|single|pregnant|disabled|self employed|born|"
    r"registered|"
    r"international|hispanic|latin[oax]|religious"
)
_LIVE = (
    r"(?:do|does|did|are|is|were|was|have|has) (?:you|r|the respondent|your household) (?:\w+ ){0,2}(?:live|"
    r"living|"
    r"reside|residing|lived|work|working|worked|study|studying|attend|attending|enrolled|employed|based|from|"
    r"come from|"
    r"grow up|grew up|born|belong)\b(?: \w+){0,5}$|"
    r"(?:wohnen|leben|arbeiten|studieren|habitez|vivez|travaillez|etudiez|vive|viv[ií]s|reside|trabaja|"
    r"estudia|abita|"
    r"lavora|studia|mora|trabalha|estuda|woont|woon|werkt|studeert|bor|arbetar|arbejder|jobber|studerar|"
    r"studerer|"
    r"mieszka\w*|pracuj\w*|studiuj\w*|zijete|asut|lakik|locuiti|yasiyor\w*|oturuyor\w*|tinggal)\b(?: "
    r"\w+){0,4}$"
)
_ASKED = re.compile(
    rf"^(?:(?:so|and|now|please) )?are you (?:currently |now |presently )?(?:an? |the )?(?:\w+ "
    rf"){{0,5}}(?:{_ROLE})\b|"
    rf"^(?:where|wo|ou|donde|dove|onde|waar|var|hvor|gdzie|kde|hol|unde|missa|nerede|di "
    rf"mana)\b.*\b(?:{_LIVE})|"
    rf"^(?:in |at |of |from |aus )?(?:which|what|welche[mnrs]?|que(?:lle?s?)?|dans quelle?|en que|cual|in "
    rf"quale|in che|quale|em "
    rf"que|qual|(?:in )?welke|i vilke[nt]|vilke[nt]|i hvilke[nt]|hvilke[nt]|w jakim|jaki\w*|w ktorym|v jakem|"
    rf"ve kterem|melyik|in "
    rf"ce|hangi)\b(?!.*\b(?:like|best|think|should|prefer|want)\b).*\b(?:{_LIVE})|"
    r"^how long (?:have|has|did|were|do) (?:you|r|the respondent)\b.*\b(?:live\w*|work\w*|been|employed|"
    r"resid\w*|stud\w+|"
    r"member|use\w*|known)\b|^(?:seit wann|wie lange)\b.*\b(?:arbeiten|wohnen|leben|sind)\b|^depuis (?:quand|"
    r"combien)\b|"
    r"^(?:cuanto tiempo|desde cuando|da quanto tempo|ha quanto tempo|hoe lang|hur lange|hvor lenge|hvor "
    r"laenge|jak dlugo)\b|"
    r"\b(?:year|grade|semester|term) of (?:your )?(?:study|studies|school|college|university)\b|what (?:year|"
    r"grade|class) are "
    r"you in|(?:what|which) (?:is|best describes) your (?:\w+ ){0,3}(?:role|position|job|department|title|"
    r"sector|industry|"
    r"faculty|school|major|course|relationship|living|housing|status|situation|level of|ethnic\w*|heritage|"
    r"background|"
    r"identity|pronouns?|gender|sex)\b|^how (?:do|would) you (?:describe|identify) your(?:self| (?:gender|"
    r"sex\w*|race|ethnic\w*))\b"
    r"(?!.*\b(?:views?|politic\w*|opinion\w*|ideolog\w*)\b)|"
    r"quanti anni|quantos anos|cuantos anos|quel age|hoeveel jaar|hur gammal|hvor gammel|ile (?:pan|"
    r"pani)?\w* ?lat|kolik (?:je )?(?:vam )?let|"
    r"kac yasinda|berapa (?:usia|umur)|^(?:lei|usted|voce|vous|sie|u|du) (?:e|es|etes|sind|bent|ar|er)$|"
    r"^(?:do|does) (?:you|r) (?:currently |now )?(?:have|own|rent|live|work)\b.*\b(?:children|kids|job|home|"
    r"house|"
    r"partner|spouse|degree|disabilit\w+|car|pets?|dependents)\b"
)
"""Questions for what a respondent is, where he or she lives, works and studies, and since when."""


def names_property(label: str, text: str) -> bool:
    """Return whether a label names a property of the respondent or the household, and no word of an opinion.

    Args:
        label: the label.
        text: the label in its plain form.
    """
    if _ASKED.search(text):
        return True
    if _VALUES.search(text) or _THINKS.search(text) or "?" in label:
        return False
    if _REGION.search(text):
        return True
    if len(text.split()) <= MOST_WORDS and _TITLE.search(text):
        return True
    return len(text) <= MOST_SIGNS and not text.isascii() and _SCRIPTS.search(text) is not None
