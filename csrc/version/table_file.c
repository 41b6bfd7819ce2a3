#include "version/version.h"

#include "base/alloc.h"

nori_status nr_table_file_create(uint64_t number, uint64_t file_bytes, const struct nr_table_properties *properties,
                                 void (*on_unreferenced)(void *arg, struct nr_table_file *file), void *arg,
                                 struct nr_table_file **file_out, struct nori_error *err)
{
    size_t end_bytes = properties->end.infinite ? 0 : properties->end.key.size;
    size_t bytes = sizeof(struct nr_table_file) + properties->smallest.size + end_bytes;

    *file_out = NULL;
    struct nr_table_file *file = nr_alloc(bytes);
    if (!file) return nr_fail_memory(err, bytes);
    memset(file, 0, sizeof(*file));
    atomic_init(&file->refs, 1);
    file->number = number;
    file->file_bytes = file_bytes;
    file->properties = *properties;
    nr_table_handle_init(&file->handle, number, properties->largest_sequence);
    file->on_unreferenced = on_unreferenced;
    file->arg = arg;

    uint8_t *keys = (uint8_t *)(file + 1);
    if (properties->smallest.size > 0) memcpy(keys, properties->smallest.data, properties->smallest.size);
    file->properties.smallest.data = keys;
    keys += properties->smallest.size;
    if (end_bytes > 0) memcpy(keys, properties->end.key.data, end_bytes);
    file->properties.end.key = nr_slice(keys, end_bytes);
    *file_out = file;
    return NORI_OK;
}

void nr_table_file_stamp(struct nr_table_file *file, uint64_t sequence)
{
    file->properties.smallest_sequence = file->properties.largest_sequence = sequence;
    file->handle.largest_sequence = sequence;
}

struct nr_table_file *nr_table_file_ref(struct nr_table_file *file)
{
    atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
    return file;
}

void nr_table_file_unref(struct nr_table_file *file)
{
    if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1) return;
    if (file->on_unreferenced)
        file->on_unreferenced(file->arg, file);
    else
        nr_table_file_free(file);
}

void nr_table_file_free(struct nr_table_file *file)
{
    nr_free(file);
}
