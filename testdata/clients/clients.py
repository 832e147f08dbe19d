"""Clients of other services, from their packages, asking infer serve: make clients runs it.

Usage: clients.py BASE EXPECTED DOG. EXPECTED is JSON of {"texts": {text: row}, "dog": row}, by the Go
library. Prints one line of JSON for each client: its name, version, what it did, and "" or what is wrong.
"""
import base64
import importlib.metadata
import json
import sys
import traceback

base, expected, dog_path = sys.argv[1:]
expected = json.load(open(expected))
texts, dog = list(expected["texts"]), expected["dog"]
rows = [expected["texts"][t] for t in texts]
dog_bytes = open(dog_path, "rb").read()
dog_base64 = base64.b64encode(dog_bytes).decode()
dog_uri = "data:image/png;base64," + dog_base64
model = "emoji-64"


def near(got, want):
    got = [float(x) for x in got]
    assert len(got) == len(want), f"a row of {len(got)}, not {len(want)}"
    worst = max(abs(a - b) for a, b in zip(got, want))
    assert worst < 1e-5, f"{worst} off"


def all_near(got, want):
    got = list(got)
    assert len(got) == len(want), f"{len(got)} rows, not {len(want)}"
    for g, w in zip(got, want):
        near(g, w)


def refused(call, *words):
    try:
        call()
    except Exception as e:  # the client's own kind of error, with the server's sentence
        assert any(w in str(e) for w in words), f"{type(e).__name__}: {e}"
        return
    raise AssertionError("a request that is wrong was not refused")


clients = []


def client(package, does):
    def add(f):
        clients.append((package, does, f))
        return f

    return add


@client("openai", "texts, images as data URIs, 2,048 inputs, models, errors")
def openai_():
    import openai

    c = openai.OpenAI(base_url=base + "/v1", api_key="none")
    all_near([d.embedding for d in c.embeddings.create(model=model, input=texts).data], rows)  # base64 underneath
    all_near([d.embedding for d in c.embeddings.create(model=model, input=texts, encoding_format="float").data], rows)
    near(c.embeddings.create(model=model, input=dog_uri).data[0].embedding, dog)
    many = c.embeddings.create(model=model, input=[f"number {i}" for i in range(2048)])
    assert [d.index for d in many.data] == list(range(2048)) and many.usage.prompt_tokens > 2048
    assert [m.id for m in c.models.list().data] == [model] and c.models.retrieve(model).id == model
    refused(lambda: c.embeddings.create(model="other", input="a"), "is not served here")
    refused(lambda: c.embeddings.create(model=model, input="a", dimensions=7), "dimensions can only be")


@client("ollama", "embed, embeddings, list, show, ps, errors")
def ollama_():
    import ollama

    c = ollama.Client(host=base)
    all_near(c.embed(model=model, input=texts).embeddings, rows)
    near(c.embed(model=model + ":latest", input=texts[0], keep_alive="5m", options={"num_ctx": 77}).embeddings[0], rows[0])
    near(c.embeddings(model=model, prompt=texts[0]).embedding, rows[0])
    assert [m.model for m in c.list().models] == [model]
    assert c.show(model).modelinfo["clip.embedding_length"] == len(dog) and c.ps().models[0].model == model
    refused(lambda: c.embed(model="other", input="a"), "is not served here")


@client("infinity_client", "texts, images, models, health")
def infinity():
    from infinity_client import Client
    from infinity_client.api.default import embeddings, health, models
    from infinity_client.models import OpenAIEmbeddingInputImage, OpenAIEmbeddingInputText
    from infinity_client.models.open_ai_embedding_input_image_modality import OpenAIEmbeddingInputImageModality as Image

    with Client(base_url=base, raise_on_unexpected_status=True) as c:
        got = embeddings.sync(client=c, body=OpenAIEmbeddingInputText.from_dict({"input": texts, "model": model}))
        all_near([d.embedding for d in got.data], rows)
        body = OpenAIEmbeddingInputImage(input_=[dog_uri, dog_base64], model=model, modality=Image.IMAGE)
        all_near([d.embedding for d in embeddings.sync(client=c, body=body).data], [dog, dog])
        assert models.sync_detailed(client=c).status_code == 200 and health.sync_detailed(client=c).status_code == 200


@client("langchain-openai", "OpenAIEmbeddings")
def langchain_openai_():
    from langchain_openai import OpenAIEmbeddings

    e = OpenAIEmbeddings(base_url=base + "/v1", api_key="none", model=model, check_embedding_ctx_length=False)
    all_near(e.embed_documents(texts), rows)
    near(e.embed_query(texts[0]), rows[0])


@client("langchain-ollama", "OllamaEmbeddings")
def langchain_ollama_():
    from langchain_ollama import OllamaEmbeddings

    e = OllamaEmbeddings(base_url=base, model=model)
    all_near(e.embed_documents(texts), rows)
    near(e.embed_query(texts[0]), rows[0])


@client("langchain-community", "JinaEmbeddings (texts, images), InfinityEmbeddings")
def langchain_community_():
    from langchain_community.embeddings import InfinityEmbeddings, jina

    jina.JINA_API_URL = base + "/v1/embeddings"
    e = jina.JinaEmbeddings(jina_api_key="none", model_name=model)
    all_near(e.embed_documents(texts), rows)
    near(e.embed_images([dog_path])[0], dog)
    e = InfinityEmbeddings(model=model, infinity_api_url=base + "/v1")
    all_near(e.embed_documents(texts), rows)


@client("llama-index-embeddings-openai-like", "OpenAILikeEmbedding")
def llama_index_openai():
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    e = OpenAILikeEmbedding(model_name=model, api_base=base + "/v1", api_key="none")
    all_near(e.get_text_embedding_batch(texts), rows)
    near(e.get_query_embedding(texts[0]), rows[0])


@client("llama-index-embeddings-ollama", "OllamaEmbedding")
def llama_index_ollama():
    from llama_index.embeddings.ollama import OllamaEmbedding

    e = OllamaEmbedding(model_name=model, base_url=base)
    all_near(e.get_text_embedding_batch(texts), rows)


@client("llama-index-embeddings-text-embeddings-inference", "TextEmbeddingsInference")
def llama_index_tei():
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    e = TextEmbeddingsInference(model_name=model, base_url=base)
    all_near(e.get_text_embedding_batch(texts), rows)


@client("huggingface_hub", "InferenceClient.feature_extraction at /embed")
def hub():
    from huggingface_hub import InferenceClient

    c = InferenceClient(model=base + "/embed", token="none")
    all_near(c.feature_extraction(texts), rows)
    near(c.feature_extraction(texts[0], truncate=True, normalize=True)[0], rows[0])
    near(c.feature_extraction(dog_uri)[0], dog)


@client("cohere", "ClientV2.embed: texts, images, inputs")
def cohere_():
    import cohere

    c = cohere.ClientV2(api_key="none", base_url=base)
    all_near(c.embed(model=model, input_type="search_document", texts=texts, embedding_types=["float"]).embeddings.float_, rows)
    near(c.embed(model=model, input_type="image", images=[dog_uri], embedding_types=["float"]).embeddings.float_[0], dog)
    inputs = [{"content": [{"type": "text", "text": texts[0]}]}, {"content": [{"type": "image_url", "image_url": {"url": dog_uri}}]}]
    all_near(c.embed(model=model, input_type="search_document", inputs=inputs, embedding_types=["float"]).embeddings.float_, [rows[0], dog])
    refused(lambda: c.embed(model="other", input_type="image", texts=["a"]), "is not served here")


for package, does, run in clients:
    wrong = ""
    try:
        run()
    except Exception:
        wrong = traceback.format_exc(limit=-3)
    print(json.dumps({"client": package, "version": importlib.metadata.version(package), "does": does, "wrong": wrong}), flush=True)
