"""What variables are found to be where name and label disagree, and which answers make a scale."""

import pytest

from gpo_ray.preferences.readers.respondents.frequencies import times_a_year
from gpo_ray.preferences.readers.respondents.grades import make_a_scale
from gpo_ray.preferences.readers.respondents.kinds import kind_of
from gpo_ray.preferences.readers.respondents.scales import is_ordered
from gpo_ray.preferences.readers.respondents.words import plain

OPINIONS = """
age|At what age should people retire?|Under 60|60-64|65-69|70 or over
age|Older people get more than their fair share from the government|Agree|Disagree
race|Race relations in the United States|Good|Bad
race|How are race relations in this country these days?|Getting better|Staying the same|Getting worse
religion|Religion should play a role in politics|Agree|Disagree
religion|Religion is a source of conflict|Yes|No
income|Income differences are too large|Agree|Disagree
party|How much do you trust political parties?|A lot|Some|None
party|Parties only want votes|True|False
region|Regions should have more power|Yes|No
region|How attached are you to your region?|Very|Fairly|Not very|Not at all
vote16|Voting age should be lowered to 16|Agree|Disagree
vote16|Lowering the voting age to 16|Support|Oppose
class|Conflict between classes|Strong|Weak
class|Class differences have become smaller|Yes|No
state|State of the economy|Good|Bad
state|The state should provide jobs for all|Agree|Disagree
time|Time to leave the European Union?|Yes|No
time|It is time for a change of government|Agree|Disagree
gender|Gender equality has gone far enough|Agree|Disagree
sex|Sex education in schools|Favor|Oppose
sex|Sex before marriage|Always wrong|Sometimes wrong|Not wrong at all
marital|Marriage is an outdated institution|Agree|Disagree
children|Children need both a father and a mother|Agree|Disagree
children|Ideal number of children for a family|0|1|2|3
language|Immigrants should learn the language|Agree|Disagree
citizen|Being a good citizen: always vote in elections|Very important|Not important
education|Spending on education|More|Same|Less
educ|Education: government spending|Spend more|Spend the same|Spend less
religion|Wie wichtig ist Religion in der Politik?|Sehr|Wenig
alter|Ab welchem Alter sollte man in Rente gehen?|60|65|70
edad|A que edad deberia jubilarse la gente?|60|65|70
parti|Faites-vous confiance aux partis politiques ?|Oui|Non
degree|A university degree is worth the cost|Yes|No
union|Trade unions are too powerful|Agree|Disagree
union|Unions have too much power|Agree|Disagree
housing|Housing is unaffordable in my area|Yes|No
q1|Which party is best at handling the economy?|Republican Party|Democratic Party|Independent
q2|Which group faces the most discrimination?|White|Black|Hispanic|Asian
q4|Religious leaders treated unfairly|Never|Sometimes|Often
q5|Muslims should be allowed to wear headscarves|Yes|No
q6|Citizenship should be given to those born in country|Agree|Disagree
q7|Political parties: how close to the people|Very close|Not close
q8|Left-right position of the Labour Party|Left|Centre|Right
tax|Your federal income tax|Too high|About right|Too low
q9|Burning the flag should be illegal|Yes|No
q10|Should the national flag be displayed at schools?|Yes|No
q11|Version of events you believe|Official|Other
form|Form of government preferred|Democracy|Monarchy
phase|Phase out fossil fuels|Yes|No
duration|Duration of unemployment benefits|Too long|Right|Too short
ini|Initiative to ban smoking|Yes|No
mode|Preferred mode of transport in cities|Car|Bus|Bike
time|Do you have enough time for your family?|Yes|No
date|Do you approve of interracial dating?|Yes|No
attend|Immigrants should attend language courses|Yes|No
q12|Quality of life in your area|Very good|Good|Bad
q13|Respondents should pay|Yes|No"""

DEMOGRAPHICS = """
q1|Voter turnout summary|Voted|Did not vote
q1|Tribe|A|B
q1|What is your tribe or ethnic community?|A|B
q1|Citizenship|Yes|No
q1|Are you a citizen of Germany?|Yes|No
q1|Union membership|Yes|No
q1|Trade union member|Yes|No
q1|Are you a member of a trade union?|Yes|No
q1|Mitgliedschaft in einer Gewerkschaft|Ja|Nein
q1|Gemeindegrößenklasse|klein|gross
q1|Politische Gemeindegrössenklasse (BIK)|klein|gross
q1|Staatsangehörigkeit des Befragten|deutsch|andere
q1|Auto-positionnement gauche-droite|0|10
q1|Où vous situez-vous sur une échelle allant de la gauche à la droite ?|gauche|droite
q1|En política se habla de izquierda y derecha. ¿Dónde se ubicaría usted?|izq|der
q1|De quel parti politique vous sentez-vous proche ?|PS|LR
q1|Pratique religieuse|souvent|jamais
q1|Propriétaire ou locataire|a|b
q1|Nombre d'enfants|0|1
q1|Supporter of political party|Yes|No
q1|Closest to one party|Yes|No
q1|Which party do you feel closest to?|A|B
q1|Strength of party identification|Very strong|Fairly strong
q1|NS-SEC 8 class|A|B
q1|How did you vote in the EU referendum?|Remain|Leave
q1|Do you live with a steady life partner?|Yes|No
DE_DEGR|Country-specific degree: Germany|a|b
FR_REG|Country specific region: France|a|b
TOPBOT|Top-bottom self-placement|a|b
q1|Feel close to a political party|Yes|No
q1|Attendance at religious services|a|b
q1|Did you cast a ballot in the last election?|Yes|No
q1|Province / governorate|a|b
q1|Would you describe yourself as religious?|Yes|No
q1|Vilket parti tycker du bäst om?|S|M
q1|Var bor du någonstans?|S|L
q1|Är du svensk medborgare?|Ja|Nej
q1|Är du medlem i någon fackförening?|Ja|Nej
q1|Welcher Partei stehen Sie nahe?|A|B
q1|Neigen Sie einer bestimmten Partei zu?|Ja|Nein
q1|Do you have a religion?|Yes|No
q1|Do you belong to a church?|Yes|No
q1|Do you rent or own?|rent|own
q1|Party you like best|a|b
q1|Número de hijos|0|1
q1|Afiliación a un sindicato|Sí|No
q1|Provincia de residencia|a|b
age|Age|18-29|30+
age|How old are you?|18|19
party|Do you consider yourself a Republican or Democrat?|R|D
income|What was your household income last year?|low|high
union|Does r or spouse belong to union|r|spouse|neither
region|In which region do you live at the moment?|N|S"""

PARADATA = """
p2|Time of interview|Before 8|8-12
q1|Hour of interview|a|b
q104|Respondent attitude: friendly|Friendly|Hostile
q105|Respondent's attitude: honest|Honest|Misleading
q106|Was the respondent friendly or hostile?|Friendly|Hostile
q107|Respondent honesty|Honest|Not
q108|Respondent was suspicious|Yes|No
splt|Fragebogensplit 2023|A|B
splt|Split|A|B
abc|Questionnaire version|A|B
abc|A, B or C version|A|B
abc|Version of the questionnaire|A|B
v|Form (A/B)|A|B
v|Questionnaire form|A|B
m|Month administered|Jan|Feb
m|Month of interview|Jan|Feb
m|Mode administered|web|phone
m|Mode of administration|web|phone
f|Flag variable: imputed income|Yes|No
f|Flag for speeders|Yes|No
f|Imputation flag: income|Yes|No
income_flag|Income|Yes|No
e|Edition type|A|B
e|Panel provider|A|B
e|Data quality flag|0|1
e|Quality flag|ok|bad
a|Attention check|pass|fail
a|This is an attention check. Please select "Strongly agree"|Strongly agree|Agree|Disagree
a|To show that you are paying attention, please select blue|Blue|Red
a|Passed attention check|Yes|No
i|Interviewer's gender|M|F
i|Interviewer: age|18-29|30-49
i|Race of interviewer|White|Black
i|Geschlecht des Interviewers|M|F
i|Sexe de l'enquêteur|H|F
scq|Self-completion questionnaire returned|Yes|No
scq|Returned self-completion|Yes|No
w|Flag variable for weights|0|1
e|Formulär|A|B
e|Enkätversion|A|B
e|Split half|A|B
e|Split sample|A|B
e|Survey mode|web|phone
e|Sample provider|A|B
e|Completed by proxy|Yes|No
e|Respondent's comprehension of questions|Good|Poor"""

SCALES = """
Very proud|Quite proud|Not very proud|Not at all proud
Not at all anxious|Slightly anxious|Moderately anxious|Very anxious|Extremely anxious
Helped a lot|Helped some|No effect|Hurt some|Hurt a lot
Increased a lot|Increased a little|Stayed the same|Decreased a little|Decreased a lot
Sehr gerecht|Eher gerecht|Eher ungerecht|Sehr ungerecht
Sehr besorgt|Eher besorgt|Kaum besorgt|Gar nicht besorgt
Très inquiet|Plutôt inquiet|Pas très inquiet|Pas du tout inquiet
Mycket oroad|Ganska oroad|Inte särskilt oroad|Inte alls oroad
Mycket bra|Ganska bra|Varken bra eller dåligt|Ganska dåligt|Mycket dåligt
Yes, definitely|Yes, probably|No, probably not|No, definitely not
Ja, absolut|Ja, kanske|Nej
Sí, mucho|Sí, algo|No, poco|No, nada
Oui, tout à fait|Oui, plutôt|Non, plutôt pas|Non, pas du tout
Muy justa|Justa|Injusta|Muy injusta
Better|Same|Worse
Much better|Better|About the same|Worse|Much worse
Viel besser|Besser|Gleich|Schlechter|Viel schlechter
Completely free|Somewhat free|Not very free|Not at all free
Strongly like|Like|Neutral|Dislike|Strongly dislike
Always legal|Mostly legal|Mostly illegal|Always illegal
Allow many|Allow some|Allow few|Allow none
Always wrong|Mostly wrong|Sometimes wrong|Rarely wrong|Never wrong
Definitely true|Probably true|Probably false|Definitely false
A lot|Somewhat|Just a little|Not at all
Molto preoccupato|Abbastanza preoccupato|Poco preoccupato|Per niente preoccupato
Muito grave|Grave|Pouco grave|Nada grave
Zeer bezorgd|Tamelijk bezorgd|Niet zo bezorgd|Helemaal niet bezorgd
Bardzo dumny|Raczej dumny|Raczej nie dumny|Wcale nie dumny
Meget stolt|Ganske stolt|Ikke særlig stolt|Slet ikke stolt
Extremely serious|Very serious|Somewhat serious|Not serious at all
Much too strict|Too strict|About right|Too lenient|Much too lenient
Far too high|Too high|About right|Too low|Far too low
Would help a lot|Would help a little|Would make no difference|Would hurt a little|Would hurt a lot
Extremely warm|Warm|Neither|Cold|Extremely cold
All of them|Most of them|Some of them|None of them
Very much like me|Like me|Somewhat like me|Not like me|Not like me at all
Muy orgulloso|Bastante orgulloso|Poco orgulloso|Nada orgulloso
Toujours|Souvent|Rarement|Jamais
Sehr stark|Ziemlich stark|Mäßig|Ziemlich schwach|Sehr schwach
A major threat|A minor threat|Not a threat
Completely|Mostly|Partly|Not at all
Every day|Several times a week|Once a week|Once a month|Less often|Never
Tous les jours|Plusieurs fois par semaine|Une fois par mois|Jamais
Mucho peor|Peor|Igual|Mejor|Mucho mejor"""

NO_SCALES = """
Red|Green|Blue
More police|Better schools|Lower taxes
Good for the rich|Good for the poor|Bad for everyone
The Republicans|The Democrats|Neither
Men|Women|No difference
Leave|Stay|Neither
Increase taxes|Cut spending|Borrow more
Better|Worse|Same
Yes|No|Maybe
Economic growth|Strong defence|More say|Beautiful cities
Catholic|Protestant|No religion
High taxes|Low wages|No jobs
Car|Bus|Bike|Other
Yes, a member|Yes, a supporter|No"""


def _lines(text):
    return text.strip().splitlines()


@pytest.mark.parametrize("line", _lines(OPINIONS))
def test_what_asks_for_an_opinion_is_a_question_whatever_its_name(line):
    name, label, *levels = line.split("|")
    assert kind_of(name, label, levels) is None


@pytest.mark.parametrize("line", _lines(DEMOGRAPHICS))
def test_facts_about_the_respondent(line):
    name, label, *levels = line.split("|")
    assert kind_of(name, label, levels) == "demographic"


@pytest.mark.parametrize("line", _lines(PARADATA))
def test_notes_of_the_interview(line):
    name, label, *levels = line.split("|")
    assert kind_of(name, label, levels) == "paradata"


@pytest.mark.parametrize("name", ["age", "sex", "region", "party", "vote16", "f_party"])
def test_a_name_tells_a_demographic_without_a_label_or_with_its_title(name):
    assert kind_of(name, None, ["1", "2"]) == "demographic"
    assert kind_of(name, "Recoded variable", ["1", "2"]) == "demographic"


@pytest.mark.parametrize("line", _lines(SCALES))
def test_grades_of_one_quality_or_labels_between_opposites_are_ordered(line):
    labels = line.split("|")
    assert is_ordered(labels)
    assert is_ordered(labels[::-1])
    assert not is_ordered([labels[1], labels[0], *labels[2:]])


@pytest.mark.parametrize("line", _lines(NO_SCALES))
def test_labels_of_no_quality_are_nominal(line):
    assert not is_ordered(line.split("|"))


def test_two_labels_make_no_scale_of_grades():
    assert not make_a_scale(["legal", "illegal"])
    assert make_a_scale(["legal", "it depends on whether neither", "illegal"]) is False


@pytest.mark.parametrize(
    ("label", "times"),
    [
        ("Every day", 365),
        ("Several times a week", 3.5 * 52),
        ("Once or twice a month", 18),
        ("Less than once a year", 0.6),
        ("Flera gånger i veckan", 3.5 * 52),
        ("Einmal pro Woche", 52),
        ("Una vez al mes", 12),
        ("Never", 0),
        ("In the last week", None),
        ("Once", None),
        ("A day off", None),
    ],
)
def test_times_a_year(label, times):
    assert times_a_year(plain(label)) == (times if times is None else pytest.approx(times))
