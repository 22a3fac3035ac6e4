"""Models with a bit of everything; their tables are made by the test."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)
    email = models.CharField(max_length=100, default="a@b.c; --")
    born = models.DateField(null=True)

    class Meta:
        app_label = "isolation"

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    tags = models.ManyToManyField("Tag", related_name="books")
    price = models.DecimalField(max_digits=8, decimal_places=2, default=1)
    pages = models.IntegerField(default=100)
    sold = models.DateTimeField(null=True)
    took = models.DurationField(null=True)
    data = models.JSONField(default=dict)
    key = models.UUIDField(null=True)
    cover = models.BinaryField(null=True)

    class Meta:
        app_label = "isolation"
        unique_together = [("title", "author")]

    def __str__(self) -> str:
        return self.title


class Tag(models.Model):
    word = models.SlugField(unique=True)

    class Meta:
        app_label = "isolation"

    def __str__(self) -> str:
        return self.word
