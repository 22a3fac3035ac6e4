from celery import shared_task

from shop.models import Order


@shared_task
def count_orders() -> int:
    return Order.objects.count()
