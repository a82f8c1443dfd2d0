"""The words of the quickstart's world, twelve of a kind. Countries, cities and the language Velan are invented."""

# ruff: noqa: SIM905 - a list of quoted words is four times as long and no clearer

COUNTRIES = "Orland Norvia Kestria Balmoor Drevane Elspar Galdor Ilmara Jorvald Lumeria Mendara Ostrel".split()
CITIES = "Vesk Brell Calder Doma Erith Farrow Gant Holm Istra Juno Karst Lorne".split()

THINGS = "lamp chair table kettle basket ladder hammer bottle carpet mirror candle drum".split()
VELAN = "mora tiluk sanve dorri quema belun fastor gilea hundo ikari jolme kivat".split()
COLOURS = "red blue green yellow black white".split()
NUMBERS = "two three four five six seven".split()
MATERIALS = "wood iron brass glass clay leather".split()

ANIMALS = "heron otter badger fox mouse wolf goose frog crow hedgehog ox pony".split()
PLURALS = "herons otters badgers foxes mice wolves geese frogs crows hedgehogs oxen ponies".split()
HOMES = "marsh river forest cave meadow barn".split()
SOUNDS = "kraa woo grum tsk peep yowl honk brek caw snuff meh thump".split()

OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("old", "new"),
    ("wet", "dry"),
    ("loud", "quiet"),
)
