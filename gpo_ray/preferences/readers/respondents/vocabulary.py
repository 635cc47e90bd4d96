"""The words of which labels of demographics are made, in the languages of the large surveys.

They are in the form of :func:`~gpo_ray.preferences.readers.respondents.words.plain`.
"""

from __future__ import annotations

from gpo_ray.preferences.readers.respondents.words import plain

_NOUNS = """
faith minority qualification qualifications origin faculty escolarizacion escuela
sex gender gndr age ages agecat agegroup birthyear cohort generation race ethnicity ethnic ethnie hispanic
latino raceethnicity education educational educ schooling degree diploma qualification school income incomes
earnings wage salary marital married partner divorced cohabitation religion religious denomination
denominations affiliation church attendance worship pray prayer evangelical employment employed occupation
occupational job work working labor labour industry profession isco partyid party partisan partisanship
ideology ideological leftright left right placement region state province district county division area
community urban rural urbanicity urbanization metropolitan metro settlement municipality nationality
citizenship citizen born birth birthplace immigrant immigration migrant migration ancestry ancestors country
household hh hhsize children child kids family tenure ownership homeowner housing dwelling language
mothertongue literacy veteran military orientation lgbt transgender class union disability registration
registered voted vote voting voter voters turnout ballot tribe tribal clan caste governorate prefecture
canton voivodeship oblast departamento gewerkschaft syndicat sindicato fackforbund electorate suburb
candidate jahren zip postcode
bundesland wohnt berufstaetig berufstaetigkeit
erwerbstaetig erwerbstaetigkeit staatsangehoerigkeit kirchgangshaeufigkeit geschlecht alter geburtsjahr
geburt bildung bildungsabschluss schulabschluss schulbildung abschluss ausbildung berufsausbildung einkommen
haushaltseinkommen nettoeinkommen haushaltsnettoeinkommen familienstand konfession religionszugehorigkeit
religionsgemeinschaft kirchgang kirchgangshaufigkeit beruf berufstatigkeit berufstatig erwerbstatigkeit
erwerbsstatus erwerbstatig berufsstellung beschaftigung parteineigung parteiidentifikation
parteiidentifikationen wahlabsicht wahlentscheidung zweitstimme erststimme links rechts selbsteinstufung
einstufung bundesland land wohnort wohnortgrosse gemeindegrosse ortsgrosse gemeinde staatsangehorigkeit
staatsburgerschaft geburtsland migrationshintergrund haushaltsgrosse kinder kinderzahl altersgruppe
altersgruppen altersklasse schicht schichteinstufung wohnstatus muttersprache gewerkschaftsmitglied
erhebungsgebiet haushalt personen wohnregion region sexe genre diplome etudes niveau revenu revenus statut
matrimonial conjugal situation etat civil profession csp emploi activite professionnelle religieuse
confession pratique naissance annee nationalite citoyennete enfants foyer menage taille commune departement
agglomeration habitat logement langue gauche droite positionnement sympathie partisane parti vote origine
sexo genero edad anos nacimiento educacion escolaridad estudios instruccion ingreso ingresos renta estado
civil religion religiosa ocupacion ocupacional empleo trabajo laboral situacion ideologia izquierda derecha
escala autoubicacion partido voto provincia ciudad comunidad habitat nacionalidad ciudadania hijos hogar
vivienda idioma lengua clase raza etnia tamano municipio personas recuerdo sesso eta nascita istruzione
titolo studio reddito stato civile religione professione occupazione condizione professionale partito
sinistra destra autocollocazione regione provincia comune cittadinanza nazionalita figli famiglia componenti
abitazione lingua classe idade nascimento escolaridade educacao renda rendimento estado civil religiao
ocupacao emprego trabalho ideologia esquerda direita posicionamento regiao cidade municipio nacionalidade
cidadania filhos domicilio agregado raca cor habitacao geslacht leeftijd geboortejaar opleiding
opleidingsniveau inkomen burgerlijke staat godsdienst religie kerkgang beroep werk arbeid partijvoorkeur
partij links rechts zelfplaatsing regio provincie gemeente nationaliteit kinderen huishouden woning taal
stedelijkheid kon alder fodelsear fodselsar utbildning utdanning uddannelse inkomst inntekt indkomst
civilstand sivilstatus sivilstand yrke erhverv sysselsattning partisympati parti venster hoyre vanster hoger
region lan kommune kommun nationalitet statsborgerskap barn hushall husholdning husstand bostad bolig sprak
kjonn koen aldersgruppe religionstillhorighet boende plec wiek rok urodzenia wyksztalcenie dochod dochody
stan cywilny wyznanie religijne praktyki zawod zatrudnienie praca partia poglady polityczne lewica prawica
wojewodztwo miejscowosc miejsce zamieszkania wielkosc obywatelstwo narodowosc dzieci gospodarstwo domowe
jezyk klasa пол возраст образование доход национальность 性别 年龄 年齢
性別 教育 学歴 学历 收入 婚姻 宗教 职业 cinsiyet yas
egitim gelir
"""

_FILLERS = """
actual since leaving position within primary autonoma persona entrevistada
r rs respondent respondents respondent s of the a an in is you your yours what was were did do and or to at
by for from with on s re recode recoded recodes category categories cat group groups grouped grp level
levels highest completed current currently present total annual monthly last year years exact summary
detailed detail collapsed combined combining variable var self identified identification reported report
subjective objective status type main major minor size number people persons person members living live
lives home own code codes coded classification scale point points 7pt 7 5 10 11 6 4 3 2 8 pre post pt
revised new old version short membership member memberships mitglied mitgliedschaft services service dv qual
description described domicile residencia residence residenza residentie afiliacion afiliado frequency
frequence frecuencia frequenza haufigkeit frekvens au aux deutsche deutscher politische cultural
office government standard revised new old version short long based net gross before after taxes tax all
sources source decile deciles
quintile quintiles quartile tercile tier binary dichotomous three two four five six seven eight nine ten
full part time finished left when ended date month day calculated computed derived imputed adjusted squared
log interval intervals bracket brackets range ranges first second other another mother father parents parent
mothers fathers s spouse spouses partners head wage earner chief where which wave w interview interviewed
interviewer profile demographic demographics demo background standard harmonized harmonised iso isced isco
isei nuts es ess background question item residence resident census usa us american national general
specific political strength strong lean leaning leans toward towards closest close feel currently week past
ever any if not none indicator flag dummy group household households be er befr befragte befragter befragten
befragte r der die das des dem den in und oder nach von zur zum im am hochster hochste allgemeiner
allgemeine allgemeinbildender allgemeinbildend jetzige derzeitige heute zahl anzahl gruppen gruppiert
kategorien kategorisiert kategorie gruppe wohngebiet west ost eigenes eigene netto monatlich jahr monat
klasse subjektive bundestagswahl partei person personen stellung du de la le les d l en et ou des un une par
repondant repondante personne interroge interrogee enquete enquetee recode recodee groupe groupes classe
classes tranche tranches quel quelle est votre vous nombre dernier derniere mensuel net obtenu plus eleve
del el los las y o por que cual es su sus usted entrevistado entrevistada encuestado encuestada recodificada
recodificado recodificacion grupo grupos tramos nivel niveles maximo ultimo mas alto alcanzado completado
actual mensual jefe familiar familiares numero religiosa subjetiva di il lo della dell degli i dei e per
intervistato intervistata classi gruppo livello piu anno mensile netto residenza numero attuale do da dos
das e os as o grupo faixa faixas etaria etarias mensal familiar nivel inquirido entrevistado ultimo van het
een jaar hoogste hoogst voltooide categorie groep klassen respondent netto maand och i av pa hogsta hoyeste
hojeste ar aret respondentens grupp gruppe type i w na lat rok kategorie grupa grupy respondenta badanego
poziom miesieczny vorwahl selection selected
"""

NOUNS = frozenset(plain(w) for w in _NOUNS.split())
"""Words for what a demographic is about; one of them must be there."""
FILLERS = frozenset(plain(w) for w in _FILLERS.split())
"""Words that may stand beside them."""
