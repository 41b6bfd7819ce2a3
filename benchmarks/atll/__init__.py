"""What adapting compaction to key ranges is worth: python -m benchmarks.atll

A cell is one workload on one store, in a process of its own. It loads the keys (points that expire: their first lifetime,
at their own pace), drains, measures a phase of writes and reads, drains again, and measures reads of a store at rest. Definitions, the same for all
stores:

write amplification   bytes of tables and manifest written from the end of the load's drain to the end of the last
                      drain, over bytes of user keys and values; the log apart. From the store's own counters, and beside
                      them what /proc/self/io counted in the same time
probes                runs whose bounds cover the key, looked into until the key is found, whatever their filters say;
                      memtables not counted. nori_lsm: runs_probed; RocksDB: filters asked (negative and positive). For the
                      hot range and elsewhere from bursts of gets between two readings of the counters, during the run
blocks                data blocks that were not in the cache, per get, of the store at rest (during the run RocksDB counts
                      those of compactions too)
space                 bytes of live tables over live keys times the bytes of one entry after a full merge; most and mean of
                      samples during the run. The bytes of an entry: a stretch of neighbouring pairs is read back and written
                      in random order into a new store of the same kind, as one memtable, and merged: each kind is held to
                      its own format, filters and blocks, at the price of a scan. The number of live keys is the
                      workload's to know. "Files" has the bytes of table files in the directory instead, outputs under
                      way and inputs not yet unlinked included
rate                  operations over the time of the loops that make them, stalls included, draining not
latency               of each get in one of eight chunks, during the run
"""
