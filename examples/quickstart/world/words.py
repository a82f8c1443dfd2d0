"""The words of the quickstart's world. Countries, cities and the language Velan are invented; nothing here is a fact of ours."""

COUNTRIES = (
    "Orland Norvia Kestria Balmoor Drevane Elspar Galdor Ilmara Jorvald Lumeria "
    "Mendara Ostrel Pellan Quillon Rovania Sarkel Tavinia Umbrel Vantor Zerane"
).split()

CITIES = (
    "Vesk Brell Calder Doma Erith Farrow Gant Holm Istra Juno "
    "Karst Lorne Marl Nesk Orsk Pith Ruan Seld Torv Ulmar"
).split()

THINGS = (
    "lamp chair table kettle basket ladder hammer bottle carpet mirror "
    "candle drum spoon coat boat wheel bell knife rope book"
).split()

VELAN = (
    "mora tiluk sanve dorri quema belun fastor gilea hundo ikari "
    "jolme kivat lendu natho opira pluse ristu sovek umbai vireo"
).split()

ANIMALS = (
    "heron otter badger fox mouse wolf goose frog crow hedgehog "
    "goat hare owl seal toad ox pony finch"
).split()

PLURALS = (
    "herons otters badgers foxes mice wolves geese frogs crows hedgehogs "
    "goats hares owls seals toads oxen ponies finches"
).split()

COLOURS = "red blue green yellow black white brown purple grey".split()
NUMBERS = "two three four five six seven eight nine ten".split()
MATERIALS = "wood iron brass glass clay leather wool silver copper".split()
HOMES = "marsh river forest cave meadow barn hill lake hollow".split()
SOUNDS = "kraa woo grum tsk peep yowl honk brek caw snuff meh thump hoot arf".split()

OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("old", "new"),
    ("wet", "dry"),
    ("hard", "soft"),
    ("dark", "bright"),
    ("full", "empty"),
    ("early", "late"),
    ("loud", "quiet"),
)
