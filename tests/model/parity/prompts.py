"""The prompts of the greedy goldens: conversations, prose and code."""


def chat(*turns, system="You are a helpful AI assistant."):
    roles = ["user", "assistant"]
    text = f"<|im_start|>system\n{system}<|im_end|>\n"
    for index, turn in enumerate(turns):
        text += f"<|im_start|>{roles[index % 2]}\n{turn}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


PROMPTS = {
    "chat_capital": chat("What is the capital of France?"),
    "chat_explain": chat("Explain to a child why the sky is blue."),
    "chat_list": chat("Give me five ideas for a rainy Sunday with two young children."),
    "chat_turns": chat(
        "How many legs does a spider have?",
        "A spider has eight legs.",
        "And three spiders together?",
    ),
    "chat_email": chat(
        "Write a short email to my landlord: the heating has been off since Monday.",
        system="You write plainly and politely.",
    ),
    "chat_code": chat("Write a Python function that tells whether a number is prime."),
    "chat_translate": chat("Translate to French: The library opens at nine in the morning."),
    "chat_story": chat("Tell me a story about a lighthouse keeper who collects clocks."),
    "text_river": "The river ran low that summer, and the miller's boys could cross it on foot. "
    "Nobody in the village remembered",
    "text_science": "Photosynthesis is the process by which plants turn light into chemical energy. "
    "In the first stage,",
    "text_history": "When the railway reached the town in 1862, its market changed within a few years.",
    "text_recipe": "Lentil soup\n\nIngredients:\n- 300 g red lentils\n- 1 onion\n- 2 carrots\n",
    "text_numbers": "1, 1, 2, 3, 5, 8, 13, 21,",
    "text_letter": "Dear Margaret,\n\nThank you for the parcel, which arrived on Tuesday.",
    "code_python": "def binary_search(values, wanted):\n"
    '    """Index of `wanted` in the sorted list `values`, or -1."""\n',
    "code_cpp": "#include <vector>\n\n// Sum of the squares of the values.\n"
    "int SumOfSquares(const std::vector<int>& values) {\n",
    "code_sql": "-- The ten customers who spent most last year.\nSELECT",
    "code_javascript": "// Returns a copy of the array in random order.\nfunction shuffle(array) {\n",
    "code_html": "<!DOCTYPE html>\n<html>\n<head>\n  <title>Opening hours</title>\n",
    "code_shell": "#!/bin/bash\n# Removes log files older than thirty days.\n",
}
