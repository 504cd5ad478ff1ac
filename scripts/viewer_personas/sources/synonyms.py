"""What services call our fields: the names that `personas check` and `init` look for."""

from collections.abc import Iterable

# Folded (see `folded`); the likeliest first. English, German, French, Spanish, Italian, Dutch.
SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "events": {
        "event_id": ("eventid", "eventuuid", "uuid", "messageid", "rowid"),
        "user_id": (
            *("userid", "viewerid", "viewer", "user", "customerid", "customer", "accountid"),
            *("account", "profileid", "profile", "subscriberid", "subscriber", "memberid"),
            *("uid", "deviceuserid", "nutzerid", "nutzer", "benutzer", "kunde", "kundennummer"),
            *("utilisateur", "idutilisateur", "usuario", "idusuario", "utente", "gebruiker"),
        ),
        "content_id": (
            *("contentid", "content", "assetid", "asset", "assetno", "itemid", "item", "videoid"),
            *("video", "titleid", "mediaid", "media", "programid", "programmeid", "movieid"),
            *("filmid", "inhaltid", "inhalt", "contenu", "idcontenu", "contenido", "idcontenido"),
        ),
        "event_type": (
            *("eventtype", "event", "eventname", "action", "activity", "type", "verb", "kind"),
            *("aktion", "ereignis", "evenement", "accion", "evento", "azione", "actie"),
        ),
        "occurred_at": (
            *("occurredat", "timestamp", "ts", "eventtime", "time", "datetime", "createdat"),
            *("eventtimestamp", "eventat", "date", "at", "zeitpunkt", "zeit", "zeitstempel"),
            *("datum", "horodatage", "heure", "fecha", "hora", "momento", "tijdstip"),
        ),
        "watch_seconds": (
            *("watchseconds", "secondswatched", "seconds", "watchtime", "watched", "duration"),
            *("playtime", "viewingtime", "durationseconds", "durationms", "watchms", "secs"),
            *("sekunden", "dauer", "duree", "secondes", "duracion", "segundos", "durata"),
        ),
        "event_count": ("eventcount", "count", "events", "anzahl", "nombre"),
        "device": ("device", "devicetype", "platform", "client", "gerat", "geraet", "appareil"),
    },
    "contents": {
        "id": (
            *("id", "contentid", "assetid", "assetno", "itemid", "videoid", "titleid", "mediaid"),
            *("movieid", "filmid", "uuid", "sku", "inhaltid"),
        ),
        "title": ("title", "name", "titel", "titre", "titulo", "titolo", "displayname", "label"),
        "content_type": ("contenttype", "type", "kind", "format", "assettype", "art", "typ"),
        "series_id": ("seriesid", "showid", "series", "show", "serie", "parentid", "serieid"),
        "season_number": ("seasonnumber", "season", "seasonno", "staffel", "saison", "temporada"),
        "episode_number": ("episodenumber", "episode", "episodeno", "folge", "episodio"),
        "genres": ("genres", "genre", "categories", "category", "genren", "kategorie", "generos"),
        "tags": ("tags", "keywords", "labels", "schlagworte", "motscles"),
        "runtime_seconds": (
            *("runtimeseconds", "runtime", "length", "duration", "durationseconds", "laufzeit"),
            *("dauer", "duree", "duracion", "durata", "runningtime", "runtimeminutes"),
        ),
        "released_on": ("releasedon", "releasedate", "released", "premiere", "erschienen"),
        "availability": ("availability", "rights", "licences", "licenses", "windows"),
    },
    "users": {
        "id": (
            *("id", "userid", "viewerid", "customerid", "accountid", "profileid", "uid"),
            *("subscriberid", "memberid", "uuid", "nutzerid", "kundennummer", "viewer", "user"),
        ),
        "timezone": ("timezone", "tz", "zone", "timezonename", "zeitzone", "fuseau", "zonahoraria"),
        "territory": ("territory", "country", "countrycode", "region", "market", "land", "pays"),
        "signed_up_on": (
            *("signedupon", "signupdate", "signup", "createdat", "registeredat", "registered"),
            *("joined", "joinedon", "startdate", "registriert", "inscription"),
        ),
        "cancelled_on": (
            *("cancelledon", "canceledon", "cancelledat", "cancelled", "churnedat", "enddate"),
            *("gekuendigt", "resiliation"),
        ),
        "marketing_consent": (
            *("marketingconsent", "consent", "optin", "newsletter", "marketingoptin", "marketing"),
            *("einwilligung", "consentement"),
        ),
    },
}


def folded(name: str) -> str:
    """A name without case, blanks, underscores and accents of vowels."""
    plain = name.lower().translate(str.maketrans("äöüéèêáíóúñ", "aoueeeaioun"))
    return "".join(letter for letter in plain if letter.isalnum())


def candidates(source: str, field: str, there: Iterable[str]) -> list[str]:
    """The names that may mean a field, the likeliest first; the last key of a path counts."""
    wanted = (folded(field), *SYNONYMS[source].get(field, ()))
    ranked = []
    for name in there:
        keys = [folded(name), folded(name.rpartition(".")[2])]
        ranks = [wanted.index(key) + 100 * n for n, key in enumerate(keys) if key in wanted]
        if ranks:
            ranked.append((min(ranks), name))
    return [name for _, name in sorted(ranked)]
