"""What is proposed of files in the layouts of large surveys."""

import numpy as np
import pytest
from survey_files import V, demographic, ids, numbers, scale, weights, write

pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")

from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.kinds import kind_of
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_table_of

REFUSED = {99: "Refused"}
AGREE = ("Strongly agree", "Somewhat agree", "Somewhat disagree", "Strongly disagree")


def date(label):
    return V(label, values=lambda rng, n: rng.integers(20200101, 20200131, n).astype(float), role="other")


PEW = {
    "QKEY": ids("Unique ID"),
    "INTERVIEW_START_W92": date("Interview start time"),
    "INTERVIEW_END_W92": date("Interview end time"),
    "DEVICE_TYPE_W92": scale("Device type used", "Desktop", "Mobile phone", "Tablet", role="other"),
    "LANG_W92": scale("Language of interview", "English", "Spanish", role="other"),
    "FORM_W92": scale("FORM. Form", "Form 1", "Form 2", role="other"),
    "SATIS_W92": scale(
        "SATIS. Are you satisfied or dissatisfied with the way things are going in this country?",
        "Satisfied",
        "Dissatisfied",
        missing=REFUSED,
    ),
    "POL1JB_W92": scale(
        "POL1JB. Do you approve or disapprove of the way Joe Biden is handling his job as President?",
        "Approve",
        "Disapprove",
        missing=REFUSED,
    ),
    "ECON1_W92": scale(
        "Thinking about the nation's economy, How would you rate economic conditions in this country today?",
        "Excellent",
        "Good",
        "Only fair",
        "Poor",
        missing=REFUSED,
    ),
    "GOVSIZE1_W92": scale(
        "If you had to choose, would you rather have...",
        "A smaller government providing fewer services",
        "A bigger government providing more services",
        missing=REFUSED,
    ),
    "ABRTLGL_W92": scale(
        "Do you think abortion should be",
        "Legal in all cases",
        "Legal in most cases",
        "Illegal in most cases",
        "Illegal in all cases",
        missing=REFUSED,
    ),
    "RACESURV52_W92": scale(
        "How much does the legacy of slavery affect the position of Black people today?",
        "A great deal",
        "A fair amount",
        "Not much",
        "Not at all",
        missing=REFUSED,
    ),
    "WHADVANT_W92": scale(
        "How much do White people benefit from advantages that Black people do not have?",
        "A great deal",
        "A fair amount",
        "Not too much",
        "Not at all",
        missing=REFUSED,
    ),
    "GENDEQ_W92": scale(
        "Which of these statements comes closer to your own view?",
        "Women still face obstacles",
        "The obstacles are now largely gone",
        missing=REFUSED,
    ),
    "PARTYTRUST_W92": scale(
        "Which political party do you trust more on the economy?",
        "The Republican Party",
        "The Democratic Party",
        "Both",
        "Neither",
        missing=REFUSED,
    ),
    "CHURCHIMP_W92": scale(
        "Churches and religious organizations: do they have a positive or negative effect?",
        "Positive",
        "Negative",
        "No effect",
        missing=REFUSED,
    ),
    "MARRYSAME_W92": scale(
        "Should marriages between same-sex couples be recognized by the law as valid?",
        "Should be valid",
        "Should not be valid",
        missing=REFUSED,
    ),
    "IMMCITZN_W92": scale(
        "Should undocumented immigrants have a way to stay in the country legally and gain citizenship?",
        "Yes",
        "No",
        "Not sure",
        missing=REFUSED,
    ),
    "THERMREP_W92": numbers("THERMREP. Feeling thermometer: Republicans", 0, 101),
    "F_METRO": demographic("Metropolitan area indicator", "Non-metropolitan", "Metropolitan"),
    "F_CREGION": demographic("Census region", "Northeast", "Midwest", "South", "West"),
    "F_AGECAT": demographic("Age category", "18-29", "30-49", "50-64", "65+", missing=REFUSED),
    "F_GENDER": demographic("Gender", "A man", "A woman", "In some other way", missing=REFUSED),
    "F_EDUCCAT": demographic(
        "Education level category",
        "College graduate+",
        "Some College",
        "H.S. graduate or less",
        missing=REFUSED,
    ),
    "F_HISP": demographic("Hispanic", "Yes", "No", missing=REFUSED),
    "F_RACETHNMOD": demographic(
        "Race-Ethnicity",
        "White non-Hispanic",
        "Black non-Hispanic",
        "Hispanic",
        "Other",
        "Asian non-Hispanic",
        missing=REFUSED,
    ),
    "F_CITIZEN": demographic("Are you a citizen of the United States, or not?", "Yes", "No", missing=REFUSED),
    "F_MARITAL": demographic(
        "Marital status",
        "Married",
        "Living with a partner",
        "Divorced",
        "Separated",
        "Widowed",
        "Never been married",
        missing=REFUSED,
    ),
    "F_RELIG": demographic(
        "Religion",
        "Protestant",
        "Roman Catholic",
        "Mormon",
        "Atheist",
        "Nothing in particular",
        missing=REFUSED,
    ),
    "F_BORN": demographic(
        "Would you describe yourself as a born-again or evangelical Christian?", "Yes", "No", missing=REFUSED
    ),
    "F_ATTEND": demographic(
        "Religious service attendance", "More than once a week", "Once a week", "Never", missing=REFUSED
    ),
    "F_PARTY_FINAL": demographic(
        "Party", "Republican", "Democrat", "Independent", "Something else", missing=REFUSED
    ),
    "F_PARTYSUM_FINAL": demographic("Party summary", "Rep/Lean Rep", "Dem/Lean Dem", "DK/Refused/No lean"),
    "F_INC_SDT1": demographic(
        "Family income",
        "Less than $30,000",
        "$30,000 to less than $40,000",
        "$100,000 or more",
        missing=REFUSED,
    ),
    "F_IDEO": demographic(
        "Ideology",
        "Very conservative",
        "Conservative",
        "Moderate",
        "Liberal",
        "Very liberal",
        missing=REFUSED,
    ),
    "F_REG": demographic(
        "Voter registration",
        "You are ABSOLUTELY CERTAIN that you are registered",
        "You are PROBABLY registered",
        "You are NOT registered",
        missing=REFUSED,
    ),
    "WEIGHT_W92": weights("Weight"),
}

G = {98: "don't know", 99: "no answer", 97: "inapplicable"}
GSS = {
    "year": V("gss year for this respondent", values=lambda r, n: np.full(n, 2018.0)),
    "id": ids("respondent id number"),
    "wrkstat": demographic(
        "labor force status",
        "working full time",
        "working part time",
        "temp not working",
        "unemployed, laid off",
        "retired",
        "school",
        "keeping house",
        "other",
        missing={99: "no answer"},
    ),
    "hrs1": numbers("number of hours worked last week", 1, 89),
    "marital": demographic("marital status", "married", "widowed", "divorced", "separated", "never married"),
    "divorce": demographic("ever been divorced or separated", "yes", "no", missing=G),
    "sibs": numbers("number of brothers and sisters", 0, 20),
    "childs": scale(
        "number of children",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight or more",
        role="demographic",
    ),
    "age": numbers("age of respondent", 18, 90, role="demographic"),
    "degree": demographic(
        "r's highest degree",
        "lt high school",
        "high school",
        "junior college",
        "bachelor",
        "graduate",
        start=0,
    ),
    "sex": demographic("respondents sex", "male", "female"),
    "race": demographic("race of respondent", "white", "black", "other"),
    "res16": demographic(
        "type of place lived in when 16 yrs old",
        "country,nonfarm",
        "farm",
        "town lt 50000",
        "big-city suburb",
        missing=G,
    ),
    "born": demographic("was r born in this country", "yes", "no", missing=G),
    "income": demographic(
        "total family income", "lt $1000", "$1000 to 2999", "$3000 to 3999", "$25000 or more", missing=G
    ),
    "region": demographic("region of interview", "new england", "middle atlantic", "pacific"),
    "partyid": demographic(
        "political party affiliation",
        "strong democrat",
        "not str democrat",
        "independent",
        "strong republican",
        "other party",
        missing=G,
        start=0,
    ),
    "vote16": demographic("did r vote in 2016 election", "voted", "did not vote", "ineligible", missing=G),
    "pres16": demographic("vote clinton or trump in 2016", "clinton", "trump", "other candidate", missing=G),
    "polviews": demographic(
        "think of self as liberal or conservative",
        "extremely liberal",
        "liberal",
        "slightly liberal",
        "moderate",
        "conservative",
        missing=G,
    ),
    "natspac": scale("space exploration program", "too little", "about right", "too much", missing=G),
    "nateduc": scale(
        "improving nations education system", "too little", "about right", "too much", missing=G
    ),
    "natsci": scale("supporting scientific research", "too little", "about right", "too much", missing=G),
    "eqwlth": V(
        "should govt reduce income differences",
        {1: "govt reduce diff", 7: "no govt action", 98: "don't know"},
        [98.0],
        lambda r, n: r.integers(1, 8, n).astype(float),
        role="question",
    ),
    "spkath": scale("allow anti-religionist to speak", "allowed", "not allowed", missing=G),
    "cappun": scale("favor or oppose death penalty for murder", "favor", "oppose", missing=G),
    "gunlaw": scale("favor or oppose gun permits", "favor", "oppose", missing=G),
    "courts": scale(
        "courts dealing with criminals", "too harsh", "not harsh enough", "about right", missing=G
    ),
    "grass": scale("should marijuana be made legal", "legal", "not legal", missing=G),
    "relig": demographic(
        "r's religious preference", "protestant", "catholic", "jewish", "none", "other", missing=G
    ),
    "fund": demographic(
        "how fundamentalist is r currently", "fundamentalist", "moderate", "liberal", missing=G
    ),
    "attend": demographic(
        "how often r attends religious services",
        "never",
        "lt once a year",
        "once a year",
        "every week",
        missing=G,
        start=0,
    ),
    "pray": demographic("how often does r pray", "several times a day", "once a day", "never", missing=G),
    "postlife": scale("belief in life after death", "yes", "no", missing=G),
    "prayer": scale("bible prayer in public schools", "approve", "disapprove", missing=G),
    "happy": scale("general happiness", "very happy", "pretty happy", "not too happy", missing=G),
    "health": scale("condition of health", "excellent", "good", "fair", "poor", missing=G),
    "life": scale("is life exciting or dull", "exciting", "routine", "dull", missing=G),
    "trust": scale("can people be trusted", "can trust", "cannot trust", "depends", missing=G),
    "confinan": scale(
        "confid in banks & financial institutions", "a great deal", "only some", "hardly any", missing=G
    ),
    "conarmy": scale("confidence in military", "a great deal", "only some", "hardly any", missing=G),
    "class": demographic(
        "subjective class identification",
        "lower class",
        "working class",
        "middle class",
        "upper class",
        missing=G,
    ),
    "satfin": scale(
        "satisfaction with financial situation", "satisfied", "more or less", "not at all sat", missing=G
    ),
    "abany": scale("abortion if woman wants for any reason", "yes", "no", missing=G),
    "sexeduc": scale("sex education in public schools", "favor", "oppose", missing=G),
    "premarsx": scale(
        "sex before marriage",
        "always wrong",
        "almst always wrg",
        "sometimes wrong",
        "not wrong at all",
        missing=G,
    ),
    "fefam": scale(
        "better for man to work, woman tend home",
        "strongly agree",
        "agree",
        "disagree",
        "strongly disagree",
        missing=G,
    ),
    "racdif1": scale("differences due to discrimination", "yes", "no", missing=G),
    "coop": scale(
        "r's attitude toward interview",
        "friendly,interested",
        "cooperative",
        "restless,impatient",
        "hostile",
        role="other",
    ),
    "comprend": scale("rs understanding of questions", "good", "fair", "poor", role="other"),
    "ballot": scale("ballot used for interview", "ballot a", "ballot b", "ballot c", role="other"),
    "mode": scale("interview done in-person or over the phone", "in-person", "over the phone", role="other"),
    "vstrat": numbers("variance stratum", 3200, 3290),
    "vpsu": scale("variance primary sampling unit", "1", "2", role="other"),
    "wtssall": weights("weight variable"),
}

W = {-1: "Don't know", -2: "No answer", -4: "Not asked", -5: "Missing; Not available"}
IMPORTANT = ("Very important", "Rather important", "Not very important", "Not at all important")
CONF = ("A great deal", "Quite a lot", "Not very much", "None at all")
WVS = {
    "version": V("Version of data file", values=lambda r, n: np.array(["6-0-0"] * n)),
    "A_YEAR": V("Year of survey", values=lambda r, n: np.full(n, 2018.0)),
    "B_COUNTRY": scale("ISO 3166-1 numeric country code", "Albania", "Algeria", "Andorra", role="other"),
    "D_INTERVIEW": ids("Interview ID"),
    "Q_MODE": scale("Mode of data collection", "PAPI", "CAPI", "Mail", role="other"),
    "N_REGION_ISO": scale("Region ISO 3166-2", "AL-01", "AL-02", "AL-03", role="other"),
    "G_TOWNSIZE2": demographic(
        "Settlement size_5 groups",
        "Under 5,000",
        "5000-20000",
        "20000-100000",
        "100000-500000",
        "500000 and more",
        missing=W,
    ),
    "H_URBRURAL": demographic("Urban-Rural", "Urban", "Rural", missing=W),
    "W_WEIGHT": weights("Weight"),
    "S018": V("1000 equilibrated weight", values=lambda r, n: r.lognormal(0, 0.2, n)),
    **{
        f"Q{i}": scale(f"Important in life: {t}", *IMPORTANT, missing=W)
        for i, t in enumerate(("Family", "Friends", "Leisure time", "Politics", "Work", "Religion"), 1)
    },
    **{
        f"Q{i}": scale(f"Important child qualities: {t}", "Mentioned", "Not mentioned", missing=W)
        for i, t in enumerate(("Good manners", "Independence", "Hard work", "Obedience"), 7)
    },
    **{
        f"Q{i}": scale(f"Neighbors: {t}", "Mentioned", "Not mentioned", missing=W)
        for i, t in enumerate(
            (
                "Drug addicts",
                "People of a different race",
                "Immigrants/foreign workers",
                "People of a different religion",
            ),
            18,
        )
    },
    "Q28": scale(
        "Pre-school child suffers with working mother",
        "Agree strongly",
        "Agree",
        "Disagree",
        "Strongly disagree",
        missing=W,
    ),
    "Q33": scale("Jobs scarce: Men should have more right to a job than women", *AGREE, missing=W),
    "Q46": scale(
        "Feeling of happiness", "Very happy", "Quite happy", "Not very happy", "Not at all happy", missing=W
    ),
    "Q48": V(
        "How much freedom of choice and control",
        {1: "No choice at all", 10: "A great deal of choice", **W},
        [-1.0, -2.0, -4.0],
        lambda r, n: r.integers(1, 11, n).astype(float),
        role="question",
    ),
    "Q49": V(
        "Satisfaction with your life",
        {1: "Completely dissatisfied", **{i: str(i) for i in range(2, 10)}, 10: "Completely satisfied", **W},
        [-1.0],
        None,
        role="question",
    ),
    "Q57": scale(
        "Most people can be trusted", "Most people can be trusted", "Need to be very careful", missing=W
    ),
    "Q65": scale("Confidence: Armed Forces", *CONF, missing=W),
    "Q64": scale("Confidence: Churches", *CONF, missing=W),
    "Q72": scale("Confidence: Political Parties", *CONF, missing=W),
    "Q106": V(
        "Income equality vs larger income differences",
        {1: "Incomes should be made more equal", 10: "There should be greater incentives", **W},
        [-1.0],
        lambda r, n: r.integers(1, 11, n).astype(float),
        role="question",
    ),
    "Q165": scale("Believe in: God", "Yes", "No", missing=W),
    "Q171": demographic(
        "How often do you attend religious services",
        "More than once a week",
        "Once a week",
        "Once a month",
        "Never",
        missing=W,
    ),
    "Q173": demographic(
        "Religious person", "A religious person", "Not a religious person", "An atheist", missing=W
    ),
    "Q222": demographic("Vote in elections: National level", "Always", "Usually", "Never", missing=W),
    "Q223": demographic(
        "Which party would you vote for if there were a national election tomorrow",
        "Party A",
        "Party B",
        "Other",
        missing=W,
    ),
    "Q235": scale(
        "Political system: Having a strong leader who does not have to bother with parliament and elections",
        "Very good",
        "Fairly good",
        "Fairly bad",
        "Very bad",
        missing=W,
    ),
    "Q240": V(
        "Left-right political scale",
        {1: "Left", 10: "Right", **W},
        [-1.0],
        lambda r, n: r.integers(1, 11, n).astype(float),
        role="demographic",
    ),
    "Q254": scale(
        "National pride", "Very proud", "Quite proud", "Not very proud", "Not at all proud", missing=W
    ),
    "Q260": demographic("Sex", "Male", "Female", missing=W),
    "Q261": numbers("Year of birth", 1930, 2003),
    "Q262": numbers("Age", 16, 95, role="demographic"),
    "X003R": demographic(
        "Age recoded (6 intervals)",
        "16-24 years",
        "25-34 years",
        "35-44 years",
        "65 and more years",
        missing=W,
    ),
    "Q263": demographic(
        "Respondent immigrant", "Born in this country", "Immigrant to this country", missing=W
    ),
    "Q269": demographic("Citizen of country", "Yes, I am a citizen", "No", missing=W),
    "Q270": numbers("Number of people in household", 1, 9),
    "Q271": demographic(
        "Do you live with your parents", "No", "Yes, own parent(s)", "Yes, parent(s) in law", missing=W
    ),
    "Q273": demographic(
        "Marital status",
        "Married",
        "Living together as married",
        "Divorced",
        "Separated",
        "Widowed",
        "Single",
        missing=W,
    ),
    "Q275": demographic(
        "Highest educational level: Respondent [ISCED 2011]",
        "Primary education",
        "Lower secondary education",
        "Bachelor or equivalent",
        missing=W,
    ),
    "Q279": demographic(
        "Employment status", "Full time", "Part time", "Self employed", "Retired", "Unemployed", missing=W
    ),
    "Q281": demographic(
        "Respondent - Occupational group", "Professional and technical", "Clerical", "Sales", missing=W
    ),
    "Q285": demographic("Are you the chief wage earner in your house", "Yes", "No", missing=W),
    "Q287": demographic(
        "Social class (subjective)",
        "Upper class",
        "Upper middle class",
        "Lower middle class",
        "Working class",
        missing=W,
    ),
    "Q288": V(
        "Scale of incomes",
        {1: "Lower step", 10: "Upper step", **W},
        [-1.0],
        lambda r, n: r.integers(1, 11, n).astype(float),
        role="demographic",
    ),
    "Q289": demographic(
        "Religious denominations - major groups",
        "Do not belong to a denomination",
        "Roman Catholic",
        "Protestant",
        "Orthodox",
        "Jew",
        "Muslim",
        missing=W,
    ),
    "Q290": demographic("Ethnic group", "AL: Albanian", "AL: Greek", missing=W),
}

E = {77: "Refusal", 88: "Don't know", 99: "No answer"}
ESS_MISS = {7: "Refusal", 8: "Don't know", 9: "No answer"}


def eleven(label, low, high, role="question"):
    return V(
        label,
        {0: low, **{i: str(i) for i in range(1, 10)}, 10: high, **E},
        [77.0, 88.0, 99.0],
        None,
        role=role,
    )


ESS = {
    "name": V("Title of dataset", values=lambda r, n: np.array(["ESS9e03"] * n)),
    "essround": V("ESS round", values=lambda r, n: np.full(n, 9.0)),
    "edition": V("Edition", values=lambda r, n: np.array(["3.1"] * n)),
    "idno": ids("Respondent's identification number"),
    "cntry": V("Country", {}, [], lambda r, n: r.choice(["DE", "FR", "PL"], n)),
    "dweight": weights("Design weight"),
    "pspwght": weights("Post-stratification weight including design weight"),
    "pweight": weights("Population size weight (must be combined with dweight or pspwght)"),
    "nwspol": numbers(
        "News about politics and current affairs, watching, reading or listening, in minutes", 0, 300
    ),
    "ppltrst": eleven(
        "Most people can be trusted or you can't be too careful",
        "You can't be too careful",
        "Most people can be trusted",
    ),
    "pplfair": eleven(
        "Most people try to take advantage of you, or try to be fair",
        "Most people try to take advantage of me",
        "Most people try to be fair",
    ),
    "polintr": scale(
        "How interested in politics",
        "Very interested",
        "Quite interested",
        "Hardly interested",
        "Not at all interested",
        missing=ESS_MISS,
    ),
    "trstprl": eleven("Trust in country's parliament", "No trust at all", "Complete trust"),
    "trstplc": eleven("Trust in the police", "No trust at all", "Complete trust"),
    "vote": demographic(
        "Voted last national election", "Yes", "No", "Not eligible to vote", missing=ESS_MISS
    ),
    "prtvede1": demographic(
        "Party voted for in last national election 1, Germany", "CDU/CSU", "SPD", "Die Linke", missing=E
    ),
    "clsprty": demographic(
        "Feel closer to a particular party than all other parties", "Yes", "No", missing=ESS_MISS
    ),
    "lrscale": eleven("Placement on left right scale", "Left", "Right", role="demographic"),
    "stflife": eleven("How satisfied with life as a whole", "Extremely dissatisfied", "Extremely satisfied"),
    "stfgov": eleven(
        "How satisfied with the national government", "Extremely dissatisfied", "Extremely satisfied"
    ),
    "gincdif": scale(
        "Government should reduce differences in income levels",
        "Agree strongly",
        "Agree",
        "Neither agree nor disagree",
        "Disagree",
        "Disagree strongly",
        missing=ESS_MISS,
    ),
    "freehms": scale(
        "Gays and lesbians free to live life as they wish",
        "Agree strongly",
        "Agree",
        "Neither agree nor disagree",
        "Disagree",
        "Disagree strongly",
        missing=ESS_MISS,
    ),
    "imsmetn": scale(
        "Allow many/few immigrants of same race/ethnic group as majority",
        "Allow many to come and live here",
        "Allow some",
        "Allow a few",
        "Allow none",
        missing=ESS_MISS,
    ),
    "happy": eleven("How happy are you", "Extremely unhappy", "Extremely happy"),
    "health": scale(
        "Subjective general health", "Very good", "Good", "Fair", "Bad", "Very bad", missing=ESS_MISS
    ),
    "rlgblg": demographic("Belonging to particular religion or denomination", "Yes", "No", missing=ESS_MISS),
    "rlgdnm": demographic(
        "Religion or denomination belonging to at present",
        "Roman Catholic",
        "Protestant",
        "Eastern Orthodox",
        "Jewish",
        missing=E,
    ),
    "rlgdgr": eleven("How religious are you", "Not at all religious", "Very religious", role="demographic"),
    "rlgatnd": demographic(
        "How often attend religious services apart from special occasions",
        "Every day",
        "Once a week",
        "Never",
        missing=E,
    ),
    "pray": demographic(
        "How often pray apart from at religious services", "Every day", "Once a week", "Never", missing=E
    ),
    "ctzcntr": demographic("Citizen of country", "Yes", "No", missing=ESS_MISS),
    "brncntr": demographic("Born in country", "Yes", "No", missing=ESS_MISS),
    "blgetmg": demographic("Belong to minority ethnic group in country", "Yes", "No", missing=ESS_MISS),
    "facntr": demographic("Father born in country", "Yes", "No", missing=ESS_MISS),
    "hhmmb": numbers("Number of people living regularly as member of household", 1, 9),
    "gndr": demographic("Gender", "Male", "Female", missing={9: "No answer"}),
    "yrbrn": numbers("Year of birth", 1930, 2004),
    "agea": numbers("Age of respondent, calculated", 15, 90, role="demographic"),
    "rshpsts": demographic(
        "Relationship with husband/wife/partner currently living with",
        "Legally married",
        "In a legally registered civil union",
        "Living with my partner (cohabiting) - not legally recognised",
        missing=E,
    ),
    "domicil": demographic(
        "Domicile, respondent's description",
        "A big city",
        "Suburbs or outskirts of big city",
        "Town or small city",
        "Country village",
        "Farm or home in countryside",
        missing=ESS_MISS,
    ),
    "eisced": demographic(
        "Highest level of education, ES - ISCED",
        "ES-ISCED I , less than lower secondary",
        "ES-ISCED II, lower secondary",
        "ES-ISCED V1, lower tertiary education, BA level",
        missing=E,
    ),
    "pdwrk": scale("Doing last 7 days: paid work", "Not marked", "Marked", role="demographic", start=0),
    "mnactic": demographic(
        "Main activity, last 7 days. All respondents. Post coded",
        "Paid work",
        "Education",
        "Unemployed, looking for job",
        "Retired",
        missing=E,
    ),
    "emplrel": demographic(
        "Employment relation",
        "Employee",
        "Self-employed",
        "Working for own family business",
        missing=ESS_MISS,
    ),
    "uemp3m": demographic(
        "Ever unemployed and seeking work for a period more than three months", "Yes", "No", missing=ESS_MISS
    ),
    "hinctnta": demographic(
        "Household's total net income, all sources",
        "J - 1st decile",
        "R - 2nd decile",
        "C - 3rd decile",
        missing=E,
    ),
    "ipcrtiv": scale(
        "Important to think new ideas and being creative",
        "Very much like me",
        "Like me",
        "Somewhat like me",
        "A little like me",
        "Not like me",
        "Not like me at all",
        missing=ESS_MISS,
    ),
    "impsafe": scale(
        "Important to live in secure and safe surroundings",
        "Very much like me",
        "Like me",
        "Somewhat like me",
        "A little like me",
        "Not like me",
        "Not like me at all",
        missing=ESS_MISS,
    ),
    "inwtm": numbers("Interview length in minutes, main questionnaire", 20, 120),
}

ANES_MISS = {-9: "-9. Refused", -8: "-8. Don't know", -1: "-1. Inapplicable"}


def anes(label, *texts, role="question"):
    return V(label, {i: f"{i}. {t}" for i, t in enumerate(texts, 1)} | ANES_MISS, [], None, role=role)


ANES = {
    "V200001": ids("Case ID"),
    "V200010b": weights("FULL SAMPLE POST-ELECTION WEIGHT"),
    "V200010c": numbers("FULL SAMPLE VARIANCE UNIT", 1, 4),
    "V200002": anes("MODE OF INTERVIEW: PRE-ELECTION INTERVIEW", "Video", "Telephone", "Web", role="other"),
    "V201005": anes(
        "PRE: HOW OFTEN DOES R PAY ATTENTION TO POLITICS AND ELECTIONS",
        "Always",
        "Most of the time",
        "About half the time",
        "Some of the time",
        "Never",
    ),
    "V201115": anes(
        "PRE: HOW HOPEFUL R FEELS ABOUT HOW THINGS ARE GOING IN THE COUNTRY",
        "Not at all",
        "A little",
        "Somewhat",
        "Very",
        "Extremely",
    ),
    "V201129x": anes(
        "PRE: SUMMARY: APPROVE/DISAPPROVE PRESIDENT HANDLING JOB",
        "Approve strongly",
        "Approve not strongly",
        "Disapprove not strongly",
        "Disapprove strongly",
    ),
    "V201200": V(
        "PRE: 7PT SCALE LIBERAL-CONSERVATIVE SELF-PLACEMENT",
        {
            1: "1. Extremely liberal",
            4: "4. Moderate; middle of the road",
            7: "7. Extremely conservative",
            **ANES_MISS,
        },
        [],
        lambda r, n: r.integers(1, 8, n).astype(float),
        role="demographic",
    ),
    "V201231x": anes(
        "PRE: SUMMARY: PARTY ID",
        "Strong Democrat",
        "Not very strong Democrat",
        "Independent-Democrat",
        "Independent",
        "Strong Republican",
        role="demographic",
    ),
    "V201336": anes(
        "PRE: STD ABORTION: SELF-PLACEMENT",
        "By law, abortion should never be permitted",
        "The law should permit abortion only in case of rape",
        "By law, a woman should always be able to obtain an abortion",
    ),
    "V201416": anes(
        "PRE: R POSITION ON GAY MARRIAGE",
        "Gay and lesbian couples should be allowed to legally marry",
        "Civil unions",
        "No legal recognition",
    ),
    "V201507x": numbers("PRE: SUMMARY: RESPONDENT AGE", 18, 81, role="demographic"),
    "V201508": anes(
        "PRE: MARITAL STATUS",
        "Married: spouse present",
        "Widowed",
        "Divorced",
        "Never married",
        role="demographic",
    ),
    "V201511x": anes(
        "PRE: SUMMARY: RESPONDENT 5 CATEGORY LEVEL OF EDUCATION",
        "Less than high school credential",
        "High school credential",
        "Some post-high school",
        "Bachelor's degree",
        "Graduate degree",
        role="demographic",
    ),
    "V201549x": anes(
        "PRE: SUMMARY: R SELF-IDENTIFIED RACE/ETHNICITY",
        "White, non-Hispanic",
        "Black, non-Hispanic",
        "Hispanic",
        "Asian",
        role="demographic",
    ),
    "V201600": anes("PRE: WHAT IS YOUR (R) SEX? [REVISED]", "Male", "Female", role="demographic"),
    "V201617x": anes(
        "PRE: SUMMARY: TOTAL (FAMILY) INCOME",
        "Under $9,999",
        "$10,000-14,999",
        "$15,000-19,999",
        "$250,000 or more",
        role="demographic",
    ),
    "V202073": anes(
        "POST: FOR WHOM DID R VOTE FOR PRESIDENT",
        "Joe Biden",
        "Donald Trump",
        "Jo Jorgensen",
        role="demographic",
    ),
    "V202255x": anes(
        "POST: SUMMARY: LESS OR MORE GOVERNMENT",
        "Less government",
        "The more things government should be doing the better",
    ),
    "V202282": anes(
        "POST: AGREE/DISAGREE: BLACKS SHOULD WORK THEIR WAY UP WITHOUT SPECIAL FAVORS",
        "Agree strongly",
        "Agree somewhat",
        "Neither agree nor disagree",
        "Disagree somewhat",
        "Disagree strongly",
    ),
}

DE = {-9: "KEINE ANGABE", -8: "WEISS NICHT", -10: "TNZ: FILTER"}
ALLBUS = {
    "respid": ids("IDENTIFIKATIONSNUMMER DES BEFRAGTEN"),
    "land": demographic("BUNDESLAND,IN DEM DER BEFRAGTE WOHNT", "SCHLESWIG-HOLSTEIN", "HAMBURG", "BAYERN"),
    "eastwest": demographic(
        "ERHEBUNGSGEBIET <WOHNGEBIET>: WEST - OST", "ALTE BUNDESLAENDER", "NEUE BUNDESLAENDER"
    ),
    "pa01": V(
        "LINKS-RECHTS-SELBSTEINSTUFUNG, BEFR.",
        {1: "LINKS", 10: "RECHTS", **DE},
        [-9.0],
        lambda r, n: r.integers(1, 11, n).astype(float),
        role="demographic",
    ),
    "pt12": V(
        "VERTRAUEN: POLIZEI",
        {1: "GAR KEIN VERTRAUEN", 7: "GROSSES VERTRAUEN", **DE},
        [-9.0, -8.0],
        lambda r, n: r.integers(1, 8, n).astype(float),
        role="question",
    ),
    "mi01": scale(
        "ZUZUG VON AUSLAENDISCHEN ARBEITNEHMERN",
        "UNEINGESCHRAENKT",
        "BEGRENZT",
        "VOELLIG UNTERBINDEN",
        missing=DE,
    ),
    "fr01": scale(
        "BERUFSTAETIGE FRAU: HERZLICHES VERHAELTNIS ZUM KIND",
        "Stimme voll und ganz zu",
        "Stimme eher zu",
        "Stimme eher nicht zu",
        "Stimme überhaupt nicht zu",
        missing=DE,
    ),
    "ls01": scale(
        "Zufriedenheit mit dem Leben",
        "Sehr zufrieden",
        "Eher zufrieden",
        "Eher unzufrieden",
        "Sehr unzufrieden",
        missing=DE,
    ),
    "id02": demographic(
        "SUBJEKTIVE SCHICHTEINSTUFUNG, BEFR.", "UNTERSCHICHT", "ARBEITERSCHICHT", "MITTELSCHICHT", missing=DE
    ),
    "sex": demographic("GESCHLECHT, BEFRAGTE<R>", "MANN", "FRAU", missing=DE),
    "age": numbers("ALTER: BEFRAGTE<R>", 18, 95, role="demographic"),
    "educ": demographic(
        "ALLGEMEINER SCHULABSCHLUSS",
        "OHNE ABSCHLUSS",
        "VOLKS-,HAUPTSCHULE",
        "MITTLERE REIFE",
        "HOCHSCHULREIFE",
        missing=DE,
    ),
    "work": demographic(
        "BEFRAGTE<R> BERUFSTAETIG?",
        "HAUPTBERUFL.GANZTAGS",
        "HAUPTBERUFL.HALBTAGS",
        "NICHT ERWERBSTAETIG",
        missing=DE,
    ),
    "mstat": demographic(
        "FAMILIENSTAND, BEFRAGTE<R>", "VERHEIRATET", "VERWITWET", "GESCHIEDEN", "LEDIG", missing=DE
    ),
    "rd01": demographic(
        "KONFESSION, BEFRAGTE<R>",
        "EVANG.OHNE FREIKIRCH",
        "ROEMISCH-KATHOLISCH",
        "KEINER RELIGIONSGEM.",
        missing=DE,
    ),
    "rp01": demographic("KIRCHGANGSHAEUFIGKEIT", "UEBER 1X DIE WOCHE", "1X PRO WOCHE", "NIE", missing=DE),
    "pv01": demographic("WAHLABSICHT, BUNDESTAGSWAHL; BEFR.", "CDU-CSU", "SPD", "FDP", missing=DE),
    "incc": demographic(
        "NETTOEINKOMMEN<OFFENE+LISTENANGABE>,KAT.",
        "KEIN EINKOMMEN",
        "UNTER 200 EURO",
        "200 - 299 EURO",
        missing=DE,
    ),
    "wghtpew": weights("PERSONENBEZOGENES OST-WEST-GEWICHT"),
}

LAT = {-1: "No sabe", -2: "No responde", -4: "No aplicable"}
LATINO = {
    "NUMENTRE": ids("Número de entrevista"),
    "IDENPA": scale("Identificación del país", "Argentina", "Bolivia", "Brasil", role="other"),
    "REG": demographic("Región", "AR: Capital", "AR: Norte", missing=LAT),
    "TAMCIUD": demographic("Tamaño de ciudad", "Hasta 5.000", "5.001 - 10.000", "Capital", missing=LAT),
    "SEXO": demographic("Sexo", "Hombre", "Mujer"),
    "EDAD": numbers("Edad", 18, 90, role="demographic"),
    "P1ST": scale(
        "Satisfacción con la vida",
        "Muy satisfecho",
        "Bastante satisfecho",
        "No muy satisfecho",
        "Para nada satisfecho",
        missing=LAT,
    ),
    "P10STGBS": scale(
        "Apoyo a la democracia",
        "La democracia es preferible",
        "Un gobierno autoritario puede ser preferible",
        "Nos da lo mismo",
        missing=LAT,
    ),
    "P11STGBS": scale(
        "Satisfacción con la democracia",
        "Muy satisfecho",
        "Más bien satisfecho",
        "No muy satisfecho",
        "Nada satisfecho",
        missing=LAT,
    ),
    "P15A": scale(
        "Confianza en la Iglesia",
        "Mucha confianza",
        "Algo de confianza",
        "Poca confianza",
        "Ninguna confianza",
        missing=LAT,
    ),
    "P15B": scale(
        "Confianza en el Congreso",
        "Mucha confianza",
        "Algo de confianza",
        "Poca confianza",
        "Ninguna confianza",
        missing=LAT,
    ),
    "P16ST": V(
        "Escala izquierda - derecha",
        {0: "Izquierda", 10: "Derecha", **LAT},
        [-1.0],
        lambda r, n: r.integers(0, 11, n).astype(float),
        role="demographic",
    ),
    "P30": scale(
        "¿Está de acuerdo con que el Estado debe reducir las diferencias de ingresos?",
        "Muy de acuerdo",
        "De acuerdo",
        "En desacuerdo",
        "Muy en desacuerdo",
        missing=LAT,
    ),
    "S1": demographic("Clase social subjetiva", "Alta", "Media", "Baja", missing=LAT),
    "S10": demographic(
        "Nivel de estudios del entrevistado",
        "Analfabeto",
        "Básica completa",
        "Universitaria completa",
        missing=LAT,
    ),
    "S14A": demographic(
        "Situación ocupacional",
        "Independiente",
        "Asalariado en empresa pública",
        "Jubilado",
        "Estudiante",
        missing=LAT,
    ),
    "S9": demographic("¿Cuál es su religión?", "Católica", "Evangélica", "Ninguna", missing=LAT),
    "S20": demographic("Estado civil", "Casado", "Soltero", "Separado/Divorciado/Viudo", missing=LAT),
    "S21A": scale("Su hogar tiene: Computador", "Sí", "No", role="other"),
    "WT": weights("Ponderador"),
}

EB = {
    "uniqid": ids("UNIQUE CASE ID"),
    "isocntry": V("COUNTRY CODE - ISO 3166", values=lambda r, n: r.choice(["FR", "DE"], n)),
    "w1": weights("WEIGHT RESULT FROM TARGET (REDRESSMENT)"),
    "d70": scale(
        "LIFE SATISFACTION",
        "Very satisfied",
        "Fairly satisfied",
        "Not very satisfied",
        "Not at all satisfied",
        "DK",
    ),
    "qa1a_1": scale("SITUATION: NAT ECONOMY", "Very good", "Rather good", "Rather bad", "Very bad", "DK"),
    "qa6_1": scale("TRUST: JUSTICE/LEGAL SYSTEM", "Tend to trust", "Tend not to trust", "DK"),
    **{
        f"qa3_{i}": V(f"MOST IMP ISSUES CNTRY: {t}", {0: "Not mentioned", 1: "Mentioned"}, role="question")
        for i, t in enumerate(("CRIME", "PRICES", "TAXATION", "HEALTH"), 1)
    },
    "qb1": scale(
        "EU IMAGE", "Very positive", "Fairly positive", "Neutral", "Fairly negative", "Very negative", "DK"
    ),
    "d1": V(
        "LEFT-RIGHT PLACEMENT",
        {
            1: "(1) LEFT",
            **{i: str(i) for i in range(2, 10)},
            10: "(10) RIGHT",
            97: "Refusal (SPONT.)",
            98: "DK",
        },
        [],
        None,
        role="demographic",
    ),
    "d7": demographic(
        "MARITAL STATUS",
        "Married or remarried: without children",
        "Single: without children",
        "Divorced or separated: without children",
        "Widow: with children",
        "Refusal (SPONT.)",
    ),
    "d8r1": demographic(
        "AGE EDUCATION (5 CATEGORIES)",
        "Up to 15",
        "16-19",
        "20 years and older",
        "Still studying",
        "No full-time education",
    ),
    "d10": demographic("GENDER", "Man", "Woman"),
    "d11": numbers("AGE EXACT", 15, 95, role="demographic"),
    "d11r1": demographic(
        "AGE RECODED - 4 CATEGORIES", "15 - 24 years", "25 - 39 years", "40 - 54 years", "55 years and older"
    ),
    "d15a": demographic(
        "OCCUPATION OF RESPONDENT",
        "Responsible for ordinary shopping, etc.",
        "Student",
        "Unemployed, temporarily not working",
        "Retired, unable to work",
        "Farmer",
    ),
    "d25": demographic(
        "TYPE OF COMMUNITY", "Rural area or village", "Small or middle sized town", "Large town", "DK"
    ),
    "d60": demographic(
        "DIFFICULTIES PAYING BILLS - LAST YEAR",
        "Most of the time",
        "From time to time",
        "Almost never/never",
        "Refusal (SPONT.)",
    ),
    "d63": demographic(
        "SOCIAL CLASS - SELF-ASSESSMENT (5 CAT)",
        "The working class of society",
        "The lower middle class of society",
        "The middle class of society",
        "DK",
    ),
    "p3": numbers("DURATION OF INTERVIEW - MINUTES", 10, 90),
    "p5": scale("RESPONDENT COOPERATION", "Excellent", "Fair", "Average", "Bad", role="other"),
}

LAYOUTS = {
    "pew": (PEW, ".sav"),
    "gss": (GSS, ".dta"),
    "wvs": (WVS, ".sav"),
    "ess": (ESS, ".sav"),
    "anes": (ANES, ".sav"),
    "allbus": (ALLBUS, ".sav"),
    "latino": (LATINO, ".zsav"),
    "eb": (EB, ".dta"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_proposal_of_layout(tmp_path, name):
    variables, suffix = LAYOUTS[name]
    path = tmp_path / f"{name}{suffix}"
    write(path, variables)
    proposal = propose(read_table_of(path, ReadOptions()))
    found = {f.name: f for f in proposal.findings}
    questions = set(proposal.codebook.questions)
    attitudes = {n for n, v in variables.items() if v.role == "question"}
    demographics = {n for n, v in variables.items() if v.role == "demographic"}
    assert questions - attitudes == set(), [(n, variables[n].label) for n in questions - attitudes]
    assert attitudes - questions == set(), [found[n] for n in attitudes - questions]
    assert demographics - {*proposal.codebook.demographics} == set(), [
        found[n] for n in demographics - {*proposal.codebook.demographics}
    ]
    weight = [n for n, v in variables.items() if v.role == "weight"]
    assert proposal.codebook.weight == ("pspwght" if name == "ess" else weight[0])
    assert proposal.codebook.id == next(n for n, v in variables.items() if v.role == "id")


ATTITUDES = """How much do you trust the federal government to do what is right?
Men make better political leaders than women do
Should the age of retirement be raised?
Religious leaders should not influence how people vote in elections
Do you think the income gap between rich and poor is a problem?
How satisfied are you with your household income?
Trust in people of another religion
Being a housewife is just as fulfilling as working for pay
Confidence in: the armed forces
Important to have been born in country
Would you mind having neighbours of a different race?
Getting ahead: importance of coming from a wealthy family
Voting should be compulsory
Frauen sollten zu Hause bleiben
Confiance dans les partis politiques
Confianza en los partidos políticos
Fiducia nella chiesa
Zaufanie do rządu"""

FACTS = """How old are you?
What is the highest level of school you have completed?
In politics today, do you consider yourself a Republican, Democrat, Independent or something else?
As of today, do you lean more to the Republican Party or more to the Democratic Party?
Aside from weddings and funerals, how often do you attend religious services?
Last year, what was your total family income from all sources, before taxes?
Do you own or rent your home?
Number of children under 18 in household
Höchster Bildungsabschluss
Welche Partei haben Sie bei der letzten Bundestagswahl gewählt?
Situation matrimoniale
Situación laboral
Titolo di studio
Renda familiar
Opleidingsniveau
Utbildning
Kjønn
Płeć"""


@pytest.mark.parametrize("label", ATTITUDES.splitlines())
def test_a_question_that_mentions_a_demographic_is_none(label):
    assert kind_of("q1", label, ["Yes", "No"]) is None


@pytest.mark.parametrize("label", FACTS.splitlines())
def test_a_fact_about_the_respondent_is_a_demographic(label):
    assert kind_of("q1", label, ["A", "B"]) == "demographic"


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ("Mann|Frau|Divers", "demographic"),
        ("Soltero|Casado|Viudo|Divorciado", "demographic"),
        ("18-29|30-49|50-64|65+", "demographic"),
        ("Less than $30,000|$30,000 to $50,000|$50,000 to $75,000|$75,000 or more", "demographic"),
        ("Roman Catholic|Protestant|Jewish|Muslim|None", "demographic"),
        ("Republican Party|Democratic Party|Both|Neither", None),
        ("Men|Women|No difference", None),
        ("0|10|20|30|40|50|60|70|80|90|100", None),
        ("White people|Black people|No difference", None),
    ],
)
def test_levels_tell_a_demographic(levels, kind):
    assert kind_of("v17", "Item 17", levels.split("|")) == kind
