"""The texts of the hosted payment page, in Spanish and in English.

Rule a change must keep: both languages have the same entries (a test compares them).
"""

TEXTS = {
    "en": {
        "pay_heading": "Pay by card",
        "challenge_heading": "Confirm your payment",
        "done_heading": "Payment",
        "unknown_heading": "Page not found",
        "error": "Error",
        "correct": "Please correct this:",
        "reference": "Reference:",
        "simulated": "This is a simulated gateway: no money moves. Use a test card, for example"
        " 4242 4242 4242 4242.",
        "minutes": "The page stays open for {} more min.",
        "number": "Card number",
        "expiry": "Expiry (MM/YY)",
        "cvc": "CVC code",
        "wrong_number": "Enter a card number that is right, digit by digit.",
        "wrong_expiry": "Enter the expiry as MM/YY; the card must not have expired.",
        "wrong_cvc": "Enter the 3 or 4 digits of the CVC code.",
        "wrong_method": "Choose one of the test methods.",
        "pay": "Pay",
        "leave": "Leave without paying, back to {}",
        "tests": "For tests",
        "method": "Test method",
        "card": "The card above",
        "decline": "Let the issuer decline",
        "challenge": "Your bank asks you to confirm this payment.",
        "confirm": "Confirm the payment",
        "reject": "I did not ask for this payment",
        "back": "Back to {}",
        "paid": "The payment has been accepted.",
        "waiting": "The payment is on its way; your bank will confirm it.",
        "declined": "The payment was declined. You have not been charged.",
        "left": "This payment is closed. You have not been charged.",
        "unknown": "There is no payment at this address.",
    },
    "es": {
        "pay_heading": "Pagar con tarjeta",
        "challenge_heading": "Confirme su pago",
        "done_heading": "Pago",
        "unknown_heading": "Página no encontrada",
        "error": "Error",
        "correct": "Corrija lo siguiente:",
        "reference": "Referencia:",
        "simulated": "Esta pasarela es simulada: no se mueve dinero. Use una tarjeta de prueba, por"
        " ejemplo 4242 4242 4242 4242.",
        "minutes": "La página sigue abierta {} min más.",
        "number": "Número de tarjeta",
        "expiry": "Caducidad (MM/AA)",
        "cvc": "Código CVC",
        "wrong_number": "Escriba un número de tarjeta correcto, cifra a cifra.",
        "wrong_expiry": "Escriba la caducidad como MM/AA; la tarjeta no debe estar caducada.",
        "wrong_cvc": "Escriba las 3 o 4 cifras del código CVC.",
        "wrong_method": "Elija uno de los métodos de prueba.",
        "pay": "Pagar",
        "leave": "Salir sin pagar y volver a {}",
        "tests": "Para pruebas",
        "method": "Método de prueba",
        "card": "La tarjeta de arriba",
        "decline": "Que el emisor la rechace",
        "challenge": "Su banco le pide que confirme este pago.",
        "confirm": "Confirmar el pago",
        "reject": "Yo no he pedido este pago",
        "back": "Volver a {}",
        "paid": "El pago ha sido aceptado.",
        "waiting": "El pago está en camino; su banco lo confirmará.",
        "declined": "El pago ha sido rechazado. No se le ha cobrado nada.",
        "left": "Este pago está cerrado. No se le ha cobrado nada.",
        "unknown": "No hay ningún pago en esta dirección.",
    },
}
LANGUAGES = tuple(TEXTS)


def language_of(accept_language: str) -> str:
    """Return the supported language that the browser prefers; English by default."""
    wishes = []
    for place, wish in enumerate(accept_language.split(",")):
        tag, _, weight = wish.partition(";q=")
        language = tag.strip().lower().partition("-")[0]
        if language in TEXTS:
            wishes.append((-_weight(weight), place, language))
    return min(wishes)[2] if wishes else LANGUAGES[0]


def _weight(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0
