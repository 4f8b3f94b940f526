"""Texts of the simulated payment link and of the bank's page, in English and in Spanish.

As Adyen advises, a page does not say why a card was refused.

Rule a change must keep: both languages have the same entries.
"""

TEXTS = {
    "en": {
        "form": "Pay {}", "bank": "Confirm the payment", "completed": "Paid",
        "expired": "Expired", "unknown": "Not found",
        "error": "Error", "refused": "The card was refused. Try another card.",
        "simulated": "This page is simulated. Use a test card, such as 4111 1111 1111 1111; the "
        "name on the card may ask for a result, such as DECLINED.",
        "number": "Card number", "expiry": "Expiry date", "cvc": "Security code (CVC)",
        "holder": "Name on card", "pay": "Pay {}", "leave": "Back to {}",
        "asks": "Your bank asks whether you make this payment.",
        "confirm": "Confirm", "reject": "Reject", "is_completed": "This payment is complete.",
        "is_expired": "This page is no longer open. You were not charged.",
        "is_unknown": "There is no such payment.",
    },
    "es": {
        "form": "Pagar a {}", "bank": "Confirme el pago", "completed": "Pagado",
        "expired": "Caducada", "unknown": "No encontrada",
        "error": "Error", "refused": "La tarjeta ha sido rechazada. Pruebe con otra tarjeta.",
        "simulated": "Esta página es simulada. Use una tarjeta de prueba, como 4111 1111 1111 1111;"
        " el nombre del titular puede pedir un resultado, como DECLINED.",
        "number": "Número de tarjeta", "expiry": "Fecha de caducidad",
        "cvc": "Código CVC", "holder": "Nombre del titular", "pay": "Pagar {}",
        "leave": "Volver a {}", "asks": "Su banco le pide que confirme este pago.",
        "confirm": "Confirmar", "reject": "Rechazar", "is_completed": "Este pago está hecho.",
        "is_expired": "Esta página ya no está abierta. No se le ha cobrado.",
        "is_unknown": "No hay tal pago.",
    },
}  # fmt: skip
