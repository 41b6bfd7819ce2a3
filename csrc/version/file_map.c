#include "version/file_map.h"

#include "base/alloc.h"
#include "base/checksum.h"

#define SMALLEST_CAPACITY 16

void nr_file_map_clear(struct nr_file_map *map)
{
    for (size_t i = 0; i < map->capacity; i++) nr_table_file_unref(map->slots[i]);
    nr_free(map->slots);
    *map = (struct nr_file_map){0};
}

/* The file's place, or the free one where it belongs. Numbers come from files: which of them lie side by side is not to
 * be known beforehand, so the place in memory counts. */
static size_t find_place(struct nr_table_file *const *slots, size_t capacity, uint64_t number)
{
    size_t at = (size_t)nr_checksum((uintptr_t)slots, nr_slice(&number, sizeof(number))) & (capacity - 1);
    while (slots[at] && slots[at]->number != number) at = (at + 1) & (capacity - 1);
    return at;
}

struct nr_table_file *nr_file_map_find(const struct nr_file_map *map, uint64_t number)
{
    return map->capacity ? map->slots[find_place(map->slots, map->capacity, number)] : NULL;
}

static nori_status grow(struct nr_file_map *map, struct nori_error *err)
{
    size_t capacity = map->capacity ? map->capacity * 2 : SMALLEST_CAPACITY;
    struct nr_table_file **slots = nr_calloc(capacity, sizeof(*slots));

    if (!slots) return nr_fail_memory(err, capacity * sizeof(*slots));
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i]) slots[find_place(slots, capacity, map->slots[i]->number)] = map->slots[i];
    }
    nr_free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return NORI_OK;
}

nori_status nr_file_map_add(struct nr_file_map *map, struct nr_table_file *file, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (map->count * 2 >= map->capacity) NR_CHECK(grow(map, err));
    map->slots[find_place(map->slots, map->capacity, file->number)] = nr_table_file_ref(file);
    map->count++;
out:
    return rc;
}
