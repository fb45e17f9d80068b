// llama_logits MODEL.gguf IDS.txt OUT.npy: llama.cpp's logits of one window, float32 [T, V].
//
// Keys and values of the cache are F32 and flash attention is off, so that nothing is rounded but
// what the model's own types say. Compiled by llamacpp.py against a build of llama.cpp.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "llama.h"

static bool write_npy(const char *path, const std::vector<float> &v, size_t rows, size_t cols)
{
    std::string head = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows)
                       + ", " + std::to_string(cols) + "), }";
    head.resize((head.size() + 11 + 63) / 64 * 64 - 11, ' ');
    head += '\n';
    const uint16_t n = static_cast<uint16_t>(head.size());
    std::ofstream f(path, std::ios::binary);
    f.write("\x93NUMPY\x01\x00", 8);
    f.put(static_cast<char>(n & 255)).put(static_cast<char>(n >> 8));
    f << head;
    f.write(reinterpret_cast<const char *>(v.data()),
            static_cast<std::streamsize>(v.size() * sizeof(float)));
    return f.good();
}

static void errors_only(ggml_log_level level, const char *text, void *)
{
    if (level == GGML_LOG_LEVEL_ERROR)
        std::fputs(text, stderr);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    std::ifstream f(argv[2]);
    std::vector<llama_token> ids;
    for (llama_token id; f >> id;)
        ids.push_back(id);
    llama_log_set(errors_only, nullptr);
    llama_backend_init();
    llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == nullptr || ids.empty())
        return 1;
    const uint32_t n = static_cast<uint32_t>(ids.size());
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = n;
    params.n_threads = params.n_threads_batch = 2;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context *context = llama_init_from_model(model, params);
    if (context == nullptr)
        return 1;
    llama_batch batch = llama_batch_init(static_cast<int32_t>(n), 0, 1);
    for (uint32_t i = 0; i < n; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = static_cast<llama_pos>(i);
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = static_cast<int32_t>(n);
    if (llama_decode(context, batch) != 0)
        return 1;
    const size_t vocab = static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
    std::vector<float> out;
    for (uint32_t i = 0; i < n; i++) {
        const float *row = llama_get_logits_ith(context, static_cast<int32_t>(i));
        out.insert(out.end(), row, row + vocab);
    }
    return write_npy(argv[3], out, n, vocab) ? 0 : 1;
}
