"""Texts of the simulated Checkout page and of the bank's page, in English and in Spanish.

Rule a change must keep: both languages have the same entries.
"""

TEXTS = {
    "en": {
        "form": "Pay by card", "bank": "Your bank asks for a confirmation",
        "expired": "This page has expired", "unknown": "Nothing is served at this address",
        "error": "Error", "save": "Save a card", "pay": "Pay", "saved": "Saved card",
        "another": "Another card", "number": "Card number", "expiry": "Expiry (MM/YY)",
        "cvc": "CVC code", "leave": "Leave without paying, back to {}", "back": "Back to {}",
        "nothing_now": "Nothing is charged now. {} may charge this card later, when you are away.",
        "simulated": "Stripe simulator: no money moves. Use a test card, for example"
        " 4242 4242 4242 4242.",
        "asks": "3D Secure simulator: complete the authentication, or let it fail.",
        "confirm": "Complete authentication", "reject": "Fail authentication",
        "not_charged": "Nothing was charged here.",
    },
    "es": {
        "form": "Pagar con tarjeta", "bank": "Su banco pide una confirmación",
        "expired": "Esta página ha caducado", "unknown": "No hay nada en esta dirección",
        "error": "Error", "save": "Guardar una tarjeta", "pay": "Pagar",
        "saved": "Tarjeta guardada", "another": "Otra tarjeta", "number": "Número de tarjeta",
        "expiry": "Caducidad (MM/AA)", "cvc": "Código CVC",
        "leave": "Salir sin pagar y volver a {}", "back": "Volver a {}",
        "nothing_now": "Ahora no se cobra nada. {} podrá cobrar a esta tarjeta más adelante.",
        "simulated": "Simulador de Stripe: no se mueve dinero. Use una tarjeta de prueba, por"
        " ejemplo 4242 4242 4242 4242.",
        "asks": "Simulador de 3D Secure: complete la autenticación o déjela fallar.",
        "confirm": "Completar la autenticación", "reject": "Rechazar la autenticación",
        "not_charged": "Aquí no se ha cobrado nada.",
    },
}  # fmt: skip
