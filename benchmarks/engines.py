"""What is compared, by name."""

from .engine import Engine
from .ours import NoriMapped, NoriWritten, Raw
from .peers import Lmdb, Plyvel, PlyvelTuned, Rocks, RocksTuned, Sqlite

ENGINES: dict[str, type[Engine]] = {
    "nori": NoriMapped,
    "nori-written": NoriWritten,
    "rocksdict": Rocks,
    "rocksdict-tuned": RocksTuned,
    "plyvel": Plyvel,
    "plyvel-tuned": PlyvelTuned,
    "lmdb": Lmdb,
    "sqlite3": Sqlite,
    "raw": Raw,
}
OURS = ("nori", "nori-written")
NOT_PEERS = (*OURS, "raw")
